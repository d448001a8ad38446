//! Mutant schemata: plants many small defects into a copy of certify's sources, each behind a number, so
//! that one build tests them all. `MUTANT=k` switches the k-th on; without it the program is unchanged.
//!
//! Usage: mutants COPY SEED COUNT [SKIP-FILE]
//!
//! COPY is a folder with a copy of `src/`. The candidates of all listed files are shuffled by the seed; the
//! first COUNT are planted, those whose names stand in SKIP-FILE (they didn't compile) left out. Prints one
//! line each: number, file, line, function, what.

use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{BinOp, Expr, ImplItemFn, ItemFn, ItemMod, Lit, ReturnType, UnOp};

/// Where bounds, scales, specification and verdicts are.
const WHERE: [&str; 11] = [
    "num/lemma.rs",
    "num/mag.rs",
    "num/interval.rs",
    "num/ball.rs",
    "num/literal.rs",
    "num/pieces.rs",
    "ops",
    "bounds",
    "scale",
    "spec",
    "certificate",
];

/// A candidate: text before and after a piece of source, with `#` for its number.
struct Site {
    file: PathBuf,
    line: usize,
    function: String,
    what: String,
    begin: usize,
    end: usize,
    before: String,
    after: String,
}

impl Site {
    /// What identifies it from run to run.
    fn name(&self) -> String {
        format!("{}:{}-{}:{}", self.file.display(), self.begin, self.end, self.what)
    }
}

struct Finder<'a> {
    file: &'a Path,
    lines: Vec<usize>,
    function: Vec<String>,
    sites: Vec<Site>,
}

impl Finder<'_> {
    fn at(&self, p: proc_macro2::LineColumn, text: &str) -> usize {
        // columns count characters
        let start = self.lines[p.line - 1];
        text[start..].char_indices().nth(p.column).map_or(text.len(), |(i, _)| start + i)
    }

    fn site(&mut self, span: Span, what: &str, before: &str, after: &str) {
        let Some(function) = self.function.last().cloned() else { return };
        let text = TEXT.with_borrow(|t| t.clone());
        let (begin, end) = (self.at(span.start(), &text), self.at(span.end(), &text));
        self.sites.push(Site {
            file: self.file.to_path_buf(),
            line: span.start().line,
            function,
            what: what.into(),
            begin,
            end,
            before: before.into(),
            after: after.into(),
        });
    }
}

thread_local! {
    static TEXT: std::cell::RefCell<String> = const { std::cell::RefCell::new(String::new()) };
}

/// What a function may return at once, by its type.
fn early(r: &ReturnType) -> Option<&'static str> {
    let ReturnType::Type(_, t) = r else { return None };
    let syn::Type::Path(p) = &**t else { return None };
    Some(match p.path.segments.last()?.ident.to_string().as_str() {
        "Mag" => "crate::num::Mag::ZERO",
        "Interval" => "crate::num::Interval::ZERO",
        "bool" => "true",
        "usize" | "u32" | "u64" | "i32" | "i64" => "1",
        "f64" | "f32" => "0.0",
        "Option" => "None",
        "Vec" => "Vec::new()",
        _ => return None,
    })
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_mod(&mut self, m: &'ast ItemMod) {
        // tests are no targets
        if m.ident != "tests" {
            visit::visit_item_mod(self, m);
        }
    }

    fn visit_item_fn(&mut self, f: &'ast ItemFn) {
        self.enter(&f.sig, &f.block, |s| visit::visit_item_fn(s, f));
    }

    fn visit_impl_item_fn(&mut self, f: &'ast ImplItemFn) {
        self.enter(&f.sig, &f.block, |s| visit::visit_impl_item_fn(s, f));
    }

    // what must be constant stays
    fn visit_expr_repeat(&mut self, e: &'ast syn::ExprRepeat) {
        self.visit_expr(&e.expr);
    }
    fn visit_pat(&mut self, _: &'ast syn::Pat) {}
    fn visit_type(&mut self, _: &'ast syn::Type) {}
    fn visit_item_const(&mut self, _: &'ast syn::ItemConst) {}
    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}

    // how much is reserved changes no result
    fn visit_expr_call(&mut self, e: &'ast syn::ExprCall) {
        if !matches!(&*e.func, Expr::Path(p) if p.path.segments.last().is_some_and(|s| s.ident == "with_capacity")) {
            visit::visit_expr_call(self, e);
        }
    }

    fn visit_expr(&mut self, e: &'ast Expr) {
        match e {
            Expr::Binary(b) => {
                let (l, r) = (b.left.span(), b.right.span());
                match b.op {
                    BinOp::Add(_) => {
                        self.site(r, "a + b: b dropped", "crate::mutant::zero(#, ", ")");
                        self.site(l, "a + b: a dropped", "crate::mutant::zero(#, ", ")");
                    }
                    BinOp::Sub(_) => self.site(r, "a - b: b dropped", "crate::mutant::zero(#, ", ")"),
                    BinOp::Mul(_) => {
                        self.site(r, "a * b: b dropped", "crate::mutant::one(#, ", ")");
                        self.site(l, "a * b: a dropped", "crate::mutant::one(#, ", ")");
                    }
                    BinOp::Div(_) => self.site(r, "a / b: b dropped", "crate::mutant::one(#, ", ")"),
                    BinOp::AddAssign(_) => self.site(r, "a += b: b dropped", "crate::mutant::zero(#, ", ")"),
                    BinOp::Lt(_) | BinOp::Le(_) | BinOp::Gt(_) | BinOp::Ge(_) | BinOp::Eq(_) | BinOp::Ne(_) => {
                        self.site(e.span(), "comparison negated", "((", ") != crate::mutant::on(#))");
                    }
                    BinOp::And(_) if !has_let(e) => {
                        self.site(r, "a && b: b dropped", "((", ") || crate::mutant::on(#))");
                        self.site(l, "a && b: a dropped", "((", ") || crate::mutant::on(#))");
                    }
                    BinOp::Or(_) => {
                        self.site(r, "a || b: b dropped", "((", ") && !crate::mutant::on(#))");
                        self.site(l, "a || b: a dropped", "((", ") && !crate::mutant::on(#))");
                    }
                    _ => {}
                }
            }
            Expr::Unary(u) => match u.op {
                UnOp::Not(_) => self.site(e.span(), "not dropped", "((", ") != crate::mutant::on(#))"),
                UnOp::Neg(_) => self.site(e.span(), "sign dropped", "crate::mutant::negated(#, ", ")"),
                _ => {}
            },
            Expr::Lit(l) => match &l.lit {
                Lit::Int(_) => self.site(e.span(), "n + 1 for n", "crate::mutant::more(#, ", ")"),
                Lit::Float(_) if !is_zero(e) => self.site(e.span(), "x/2 for x", "crate::mutant::half(#, ", ")"),
                _ => {}
            },
            Expr::MethodCall(m) if m.method == "max" && m.args.len() == 1 && !is_zero(&m.args[0]) => {
                self.site(m.args[0].span(), "max: argument dropped", "crate::mutant::zero(#, ", ")");
            }
            _ => {}
        }
        visit::visit_expr(self, e);
    }
}

/// A zero that is written as one: half of it, or nothing in its place, is the same program.
fn is_zero(e: &Expr) -> bool {
    match e {
        Expr::Lit(l) => matches!(&l.lit, Lit::Float(x) if x.base10_parse::<f64>().is_ok_and(|x| x == 0.0)),
        Expr::Path(p) => p.path.segments.last().is_some_and(|s| s.ident == "ZERO"),
        _ => false,
    }
}

fn has_let(e: &Expr) -> bool {
    match e {
        Expr::Let(_) => true,
        Expr::Binary(b) => has_let(&b.left) || has_let(&b.right),
        _ => false,
    }
}

impl Finder<'_> {
    fn enter(&mut self, sig: &syn::Signature, block: &syn::Block, inside: impl FnOnce(&mut Self)) {
        // constant functions can't ask
        if sig.constness.is_some() {
            return;
        }
        self.function.push(sig.ident.to_string());
        if let (Some(value), Some(first)) = (early(&sig.output), block.stmts.first()) {
            let text = format!("if crate::mutant::on(#) {{ return {value}; }} ");
            self.site(first.span(), "nothing but a default returned", &text, "");
        }
        inside(self);
        self.function.pop();
    }
}

/// Functions of the mutants; k is 0 for none. With `MUTANT_TRACE=FILE` the numbers of those that are come by are
/// added to FILE.
const SUPPORT: &str = r#"
//! Planted by scripts/mutants.
#![allow(missing_docs)]
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

struct Asked {
    active: u32,
    trace: Option<std::sync::Mutex<std::fs::File>>,
}

static MET: [AtomicBool; 1 << 16] = [const { AtomicBool::new(false) }; 1 << 16];

static ASKED: OnceLock<Asked> = OnceLock::new();

fn ask() -> Asked {
    let active = std::env::var("MUTANT").ok().and_then(|v| v.parse().ok()).unwrap_or(0);
    let open = |path| std::fs::OpenOptions::new().append(true).open(path).expect("the trace is there");
    Asked { active, trace: std::env::var("MUTANT_TRACE").ok().map(|p| open(p).into()) }
}

pub fn on(k: u32) -> bool {
    let asked = ASKED.get_or_init(ask);
    if let Some(trace) = &asked.trace {
        let met = &MET[k as usize];
        if !met.load(Relaxed) && !met.swap(true, Relaxed) {
            writeln!(trace.lock().expect("no panic meanwhile"), "{k}").expect("the trace is written");
        }
    }
    asked.active == k
}

pub trait Number: Sized {
    const ZERO: Self;
    const ONE: Self;
    fn more(self) -> Self;
    fn half(self) -> Self;
}

macro_rules! ints { ($($t:ty),+) => {$(impl Number for $t {
    const ZERO: $t = 0;
    const ONE: $t = 1;
    fn more(self) -> $t { self.wrapping_add(1) }
    fn half(self) -> $t { self / 2 }
})+} }
ints!(i8, u8, i16, u16, i32, u32, i64, u64, i128, u128, isize, usize);

macro_rules! floats { ($($t:ty),+) => {$(impl Number for $t {
    const ZERO: $t = 0.0;
    const ONE: $t = 1.0;
    fn more(self) -> $t { self + 1.0 }
    fn half(self) -> $t { self / 2.0 }
})+} }
floats!(f32, f64);

impl Number for crate::num::Mag {
    const ZERO: Self = crate::num::Mag::ZERO;
    const ONE: Self = crate::num::Mag::ONE;
    fn more(self) -> Self { self + crate::num::Mag::ONE }
    fn half(self) -> Self { crate::num::Mag::of(self.get() / 2.0) }
}

#[inline] pub fn zero<T: Number>(k: u32, x: T) -> T { if on(k) { T::ZERO } else { x } }
#[inline] pub fn one<T: Number>(k: u32, x: T) -> T { if on(k) { T::ONE } else { x } }
#[inline] pub fn more<T: Number>(k: u32, x: T) -> T { if on(k) { x.more() } else { x } }
#[inline] pub fn half<T: Number>(k: u32, x: T) -> T { if on(k) { x.half() } else { x } }
#[inline] pub fn negated<T: std::ops::Neg<Output = T>>(k: u32, x: T) -> T { if on(k) { -x } else { x } }
"#;

fn sources(copy: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for place in WHERE {
        let path = copy.join("src").join(place);
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("readable").flatten().map(|e| e.path());
            all.extend(entries.filter(|p| p.extension().is_some_and(|e| e == "rs")));
        } else {
            all.push(path);
        }
    }
    let test = |p: &PathBuf| {
        let name = p.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.contains("test") || name == "example.rs"
    };
    all.retain(|p| !test(p));
    all.sort();
    all
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let (copy, seed, count) = (PathBuf::from(&args[1]), args[2].parse::<u64>().expect("a seed"), args[3].parse::<usize>().expect("a count"));
    let skip = args.get(4).map(|f| fs::read_to_string(f).expect("readable")).unwrap_or_default();
    let skip: Vec<&str> = skip.lines().collect();
    let mut sites = Vec::new();
    for file in sources(&copy) {
        let text = fs::read_to_string(&file).expect("readable");
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect();
        TEXT.set(text.clone());
        let relative = file.strip_prefix(&copy).expect("inside").to_path_buf();
        let mut f = Finder { file: &relative, lines, function: Vec::new(), sites: Vec::new() };
        f.visit_file(&syn::parse_file(&text).expect("parses"));
        sites.extend(f.sites);
    }
    let candidates = sites.len();
    // Fisher–Yates by SplitMix64
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    for i in (1..sites.len()).rev() {
        sites.swap(i, (next() % (i as u64 + 1)) as usize);
    }
    let chosen: Vec<(usize, &Site)> =
        sites.iter().filter(|s| !skip.contains(&s.name().as_str())).take(count).enumerate().map(|(k, s)| (k + 1, s)).collect();
    for file in sources(&copy) {
        let relative = file.strip_prefix(&copy).expect("inside");
        // where pieces begin at one place, the longest stands outside
        let mut inserts: Vec<(usize, i64, String)> = Vec::new();
        for (k, s) in chosen.iter().filter(|(_, s)| s.file == relative) {
            let (size, k) = ((s.end - s.begin) as i64, k.to_string());
            inserts.push((s.begin, -size, s.before.replace('#', &k)));
            inserts.push((s.end, size - (1 << 40), s.after.replace('#', &k)));
        }
        inserts.sort_by_key(|(at, order, _)| (*at, *order));
        let mut text = fs::read_to_string(&file).expect("readable");
        for (at, _, what) in inserts.iter().rev() {
            text.insert_str(*at, what);
        }
        fs::write(&file, text).expect("written");
    }
    fs::write(copy.join("src/mutant.rs"), SUPPORT).expect("written");
    let lib = copy.join("src/lib.rs");
    let text = fs::read_to_string(&lib).expect("readable");
    if !text.contains("mod mutant;") {
        fs::write(&lib, text + "pub mod mutant;\n").expect("written");
    }
    println!("# {candidates} candidates, seed {seed}");
    for (k, s) in chosen {
        println!("{k}\t{}\t{}\t{}\t{}\t{}", s.file.display(), s.line, s.function, s.what, s.name());
    }
}
