//! The report in a real browser: no error, no request, usable by keyboard, accessible in light and
//! dark, complete on paper; valid HTML; hostile names stay text.
//!
//! Without a browser these tests pass and say so; with `CERTIFY_REQUIRE_BROWSER` they fail.
//! `scripts/browser.sh` gets what they need. Pages, pictures and prints stay in `target/browser/`.

use std::path::{Path, PathBuf};
use std::process::Command;

use assert_cmd::cargo::CommandCargoExt;
use certify::certificate::{Certificate, Gradient, Limits, ModelVerdict, NodeAttribute, Num, OnnxNode};
use certify::report;
use serde_json::{Value, json};

use crate::firefox::Firefox;
use crate::webdriver::{Browser, ENTER, Page, TAB};

/// The target directory.
fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target directory has a name")
}

/// Files that `scripts/browser.sh` fetched.
fn tool(name: &str) -> PathBuf {
    target().join("web").join(name)
}

/// Are the programs and files there? Says what is missing, and fails where it must be there.
fn have(programs: &[&str], files: &[&str]) -> bool {
    let found = |p: &&&str| {
        std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|d| d.join(p).is_file()))
    };
    let mut missing: Vec<&str> = programs.iter().filter(|p| !found(p)).copied().collect();
    missing.extend(files.iter().filter(|f| !tool(f).is_file()));
    if missing.is_empty() {
        return true;
    }
    let text = format!("the report in a browser was NOT TESTED, there is no {}", missing.join(", no "));
    assert!(std::env::var_os("CERTIFY_REQUIRE_BROWSER").is_none(), "{text}: run scripts/browser.sh");
    eprintln!("{text}");
    false
}

fn have_browser() -> bool {
    have(&["chromium", "chromedriver", "pdftotext", "pdfinfo"], &["axe.min.js"])
}

/// A file under `target/browser/`.
fn kept(name: &str) -> PathBuf {
    let dir = target().join("browser");
    std::fs::create_dir_all(&dir).expect("the directory for pictures can be made");
    dir.join(name)
}

fn sample(name: &str) -> Certificate {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/samples").join(name);
    let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    Certificate::from_json(&text).unwrap_or_else(|e| panic!("{e}"))
}

/// The certificate of a real run.
fn digits_cnn() -> Certificate {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let dir = tempfile::tempdir().expect("a directory can be made");
    let (page, json) = (dir.path().join("run.html"), dir.path().join("run.json"));
    let status = Command::cargo_bin("certify")
        .expect("the program is built")
        .arg(root.join("digits_cnn.onnx"))
        .arg("--inputs")
        .arg(root.join("digits_cnn.inputs.npz"))
        .arg("--report")
        .arg(&page)
        .arg("--certificate")
        .arg(&json)
        .output()
        .expect("the program runs")
        .status;
    assert!(status.code().is_some_and(|s| s <= 1), "certify ends with {status}");
    let c = Certificate::from_json(&std::fs::read_to_string(json).expect("there is a certificate")).expect("it reads");
    assert_eq!(std::fs::read_to_string(page).expect("there is a report"), report::render(&c));
    c
}

/// A made-up model of n layers, each with these parameters, and a node without any behind it.
fn deep(n: usize, own: &[&str]) -> Certificate {
    let mut c = sample("certified.json");
    let (gradients, nodes) = (std::mem::take(&mut c.gradients), std::mem::take(&mut c.forward));
    let [with, without] = ["Gemm", "Relu"].map(|op| nodes.iter().find(|l| l.op == op).expect("a node of the sample"));
    for i in 0..n {
        let layer = format!("encoder.layers.{i}.linear");
        let parameters: Vec<String> = own.iter().map(|own| format!("{layer}.{own}")).collect();
        for l in [with, without] {
            let mut l = l.clone();
            let before = c.forward.last().map_or("x".to_owned(), |l| l.onnx.outputs[0].clone());
            l.node = format!("/encoder/layers.{i}/linear/{}", l.op);
            l.inputs = c.forward.last().map(|l| l.node.clone()).into_iter().collect();
            l.onnx.inputs = [before].into_iter().chain(parameters.iter().filter(|_| l.op == "Gemm").cloned()).collect();
            l.onnx.outputs = vec![format!("{}_output_0", l.node)];
            c.forward.push(l);
        }
        for (k, name) in parameters.into_iter().enumerate() {
            let mut g = gradients[(own.len() * i + k) % gradients.len()].clone();
            (g.name, g.layer) = (name, layer.clone());
            g.node = format!("/encoder/layers.{i}/linear/Gemm");
            c.gradients.push(g);
        }
    }
    for (i, g) in c.gradients.iter_mut().enumerate() {
        for (k, part) in g.budget.iter_mut().flatten().enumerate() {
            part.node.clone_from(&c.forward[(i + 11 * k) % c.forward.len()].node);
        }
    }
    c.decide(Limits::default()).expect("the figures are consistent");
    c
}

/// Opens the report on a certificate.
fn open(browser: &Browser, name: &str, c: &Certificate) -> PathBuf {
    let file = kept(&format!("{name}.html"));
    std::fs::write(&file, report::render(c)).expect("the page can be written");
    browser.open(&file);
    file
}

/// Nothing on the console, nothing requested but the page, no scrolling sideways.
fn is_quiet(browser: &Browser, file: &Path) {
    let console = browser.log("browser");
    assert!(console.is_empty(), "the console says {console:#?}");
    let own = format!("file://{}", file.display());
    for entry in browser.log("performance") {
        let event: Value = serde_json::from_str(entry["message"].as_str().unwrap_or("null")).unwrap_or(Value::Null);
        if event["message"]["method"] == "Network.requestWillBeSent" {
            let url = event["message"]["params"]["request"]["url"].as_str().unwrap_or_default();
            assert!(url == own || url.starts_with("data:"), "the page asks for {url}");
        }
    }
    fits(browser);
}

/// The page doesn't scroll sideways.
fn fits(browser: &impl Page) {
    let widths = browser.script("return [document.documentElement.scrollWidth, innerWidth]");
    assert!(widths[0].as_u64() <= widths[1].as_u64(), "the page scrolls sideways: {widths}");
}

/// At 1280 px the table of gradients shows all its columns; on a phone the page still doesn't scroll sideways.
fn is_usable_at_any_width(browser: &Browser) {
    let columns = "const s = document.querySelector('#gradients .scroll'); return [s.scrollWidth, s.clientWidth]";
    browser.width(1280);
    let widths = browser.script(columns);
    assert!(widths[0].as_u64() <= widths[1].as_u64(), "columns of the table of gradients are out of sight: {widths}");
    browser.width(400);
    browser.script("document.querySelectorAll('details').forEach(d => { d.open = true; })");
    fits(browser);
    browser.script("document.querySelectorAll('details').forEach(d => { d.open = false; })");
    browser.width(1280);
}

/// Text of the gradients' rows that are shown, in the order shown.
fn rows(browser: &impl Page) -> Vec<String> {
    let script = "return [...document.querySelector('#gradients tbody').rows].filter(r => !r.hidden)
        .map(r => r.cells[0].textContent.trim() + ' ' + r.cells[1].textContent.trim())";
    let value = browser.script(script);
    value.as_array().expect("rows").iter().map(|r| r.as_str().expect("text").to_owned()).collect()
}

/// Moves on by Tab until what has the focus answers `yes` to a script over `e`.
fn tab_to(browser: &impl Page, yes: &str) {
    let script = format!("const e = document.activeElement; return Boolean({yes})");
    for _ in 0..120 {
        browser.keys(TAB);
        if browser.script(&script) == json!(true) {
            let ring = browser.script(
                "const s = getComputedStyle(document.activeElement); return s.outlineStyle + ' ' + s.outlineWidth",
            );
            let ring = ring.as_str().expect("text");
            assert!(!ring.starts_with("none") && !ring.ends_with(" 0px"), "no focus is seen: {yes}: {ring}");
            return;
        }
    }
    panic!("Tab doesn't lead to {yes}");
}

/// A figure of a gradient; `None` where there is none.
type Figure = fn(&Gradient) -> Option<f64>;

/// Heads of columns that are sorted by, from the left, and what orders their rows.
const SORTED: [(&str, Figure); 6] = [
    ("Observed error", |g| Some(g.observed.lo())),
    ("Correct", |g| Some(g.correct_digits.get())),
    ("direct", |g| g.bounds.direct.as_ref().and_then(|b| b.abs).map(Num::get)),
    ("atol", |g| g.tolerance.atol.map(Num::get)),
    ("Limit T", |g| Some(g.limit.get())),
    ("Gates", |g| Some(g.undecided_gates as f64)),
];

/// Are the rows in the order of their figures, which the page rounds to three digits? Those without stand last.
fn is_sorted(rows: &[String], c: &Certificate, head: &str, figure: Figure, up: bool) {
    let number = |r: &String| r.split(' ').next().and_then(|n| n.parse::<usize>().ok()).expect("a number");
    let figures: Vec<Option<f64>> = rows.iter().map(|r| figure(&c.gradients[number(r) - 1])).collect();
    assert_eq!(figures.len(), c.gradients.len());
    for pair in figures.windows(2) {
        let fine = match (pair[0], pair[1]) {
            (Some(a), Some(b)) => {
                if up {
                    a <= b * 1.01
                } else {
                    b <= a * 1.01
                }
            }
            (before, after) => before.is_some() || after.is_none(),
        };
        assert!(fine, "by {head}, {}: {pair:?}", if up { "ascending" } else { "descending" });
    }
}

/// Sorts, filters and folds with the keyboard alone.
fn works_by_keyboard(browser: &impl Page, c: &Certificate) {
    let all = rows(browser);
    assert_eq!(all.len(), c.gradients.len());
    // The page's tools come before the table: verdict, name, heads, fold.
    tab_to(browser, "e.id === 'verdict-filter'");
    browser.keys("f");
    let failing = c.gradients.iter().filter(|g| g.verdict == certify::certificate::Status::Fail).count();
    assert_eq!(rows(browser).len(), failing, "only those that fail are shown");
    assert!(failing == all.len() || browser.script("return document.querySelector('[role=status]').textContent") != "");
    // Home: the first choice, which is all.
    browser.keys("\u{e011}");
    assert_eq!(rows(browser).len(), all.len());
    tab_to(browser, "e.id === 'name-filter'");
    let first = &c.gradients[0].layer;
    browser.keys(first);
    let shown = rows(browser);
    assert!(!shown.is_empty() && shown.len() < all.len() && shown.iter().all(|r| r.contains(first.as_str())));
    browser.keys(&"\u{e003}".repeat(first.chars().count()));
    // A long report is sorted by one column: the others work alike.
    let columns = if all.len() > 100 { &SORTED[1..2] } else { &SORTED[..] };
    for &(head, figure) in columns {
        tab_to(browser, &format!("e.textContent === '{head}'"));
        for up in [true, false] {
            browser.keys(ENTER);
            let sorted = format!(
                "return document.querySelector('#gradients [aria-sort={}] button')?.textContent",
                if up { "ascending" } else { "descending" }
            );
            assert_eq!(browser.script(&sorted), head);
            is_sorted(&rows(browser), c, head, figure, up);
        }
    }
    // The fold buttons stand before the details; and each detail has its own handle.
    let open = "return document.querySelectorAll('#layers > details[open]').length";
    browser.script("document.getElementById('layers-h').tabIndex = -1; document.getElementById('layers-h').focus()");
    tab_to(browser, "e.textContent === 'Unfold all'");
    browser.keys(ENTER);
    assert_eq!(browser.script(open), c.gradients.len());
    tab_to(browser, "e.textContent === 'Fold all'");
    browser.keys(" ");
    assert_eq!(browser.script(open), 0);
    tab_to(browser, "e.tagName === 'SUMMARY'");
    browser.keys(ENTER);
    assert_eq!(browser.script(open), 1);
}

/// axe-core's verdict on the page as it stands.
fn is_accessible(browser: &Browser, what: &str) {
    let axe = std::fs::read_to_string(tool("axe.min.js")).expect("axe-core is readable");
    let script = format!(
        "{axe}; const done = arguments[arguments.length - 1];
        axe.run(document, {{runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
            resultTypes: ['violations']}}).then(r => done(r.violations.map(v => [v.id, v.help, v.nodes.length,
            v.nodes.slice(0, 3).map(n => n.html.slice(0, 300) + ' ' + n.failureSummary)])), e => done([String(e)]));"
    );
    let found = browser.script_async(&script);
    assert!(found.as_array().is_some_and(Vec::is_empty), "{what}: axe finds {found:#}");
}

/// Prints on A4 and Letter; every row is there, and no word is beyond the edge.
fn prints_completely(browser: &Browser, name: &str, c: &Certificate) -> usize {
    let mut pages = 0;
    let papers = [("letter", 8.5, 11.0), ("a4", 8.27, 11.69)];
    // A long print takes a minute.
    let papers = if c.gradients.len() > 100 { &papers[1..] } else { &papers[..] };
    for &(paper, width, height) in papers {
        let file = kept(&format!("{name}-{paper}.pdf"));
        std::fs::write(&file, browser.print(width, height)).expect("the print can be written");
        let run = |program: &str, args: &[&str]| {
            let out = Command::new(program).args(args).arg(&file).arg("-").output().expect("poppler runs");
            assert!(out.status.success(), "{program} fails on {}", file.display());
            String::from_utf8_lossy(&out.stdout).into_owned()
        };
        let text = run("pdftotext", &["-raw"]);
        let squeezed: String = text.split_whitespace().collect();
        // The head of the table is repeated, with all of its words.
        let heads: Vec<String> = text.split('\x0c').map(|p| p.split_whitespace().collect()).collect();
        let heads: Vec<&String> = heads.iter().filter(|p: &&String| p.contains("holdsfor")).collect();
        assert!(!heads.is_empty(), "{paper}: the table of gradients is there");
        for page in heads {
            let whole = ["Layer", "Observed", "Correct", "Verdict"].iter().all(|h| page.contains(h));
            assert!(whole, "{paper}: a page repeats only a part of the table's head: {page}");
        }
        for (i, g) in c.gradients.iter().enumerate().filter(|(i, _)| i % 97 == 0 || i + 1 == c.gradients.len()) {
            // Row of the table: its number, then the layer's name.
            let row = format!("{}{}", i + 1, g.layer);
            assert!(squeezed.contains(&row), "{paper}: {row} is not in the print");
        }
        let last = c.forward.last().map(|l| format!("{}{}", c.forward.len(), l.node));
        assert!(last.is_none_or(|l| squeezed.contains(&l)), "{paper}: the last node is not in the print");
        assert!(squeezed.contains("Ihavereadthescopeandacceptwhatisassumed"), "{paper}: nowhere to sign");
        let info = Command::new("pdfinfo").arg(&file).output().expect("pdfinfo runs");
        let info = String::from_utf8_lossy(&info.stdout).into_owned();
        pages = info.lines().find_map(|l| l.strip_prefix("Pages:")?.trim().parse().ok()).expect("a number of pages");
        assert!(squeezed.contains(&format!("1/{pages}")), "{paper}: pages are numbered");
        nothing_is_cut(&run("pdftotext", &["-bbox"]), paper);
    }
    pages
}

/// Every word of a print lies within its page.
fn nothing_is_cut(boxes: &str, paper: &str) {
    let attribute = |line: &str, name: &str| -> f64 {
        let rest = line.split_once(&format!("{name}=\"")).map_or("", |(_, r)| r);
        rest.split('"').next().and_then(|n| n.parse().ok()).unwrap_or(f64::NAN)
    };
    let mut width = 0.0;
    for line in boxes.lines() {
        if line.contains("<page ") {
            width = attribute(line, "width");
        } else if line.contains("<word ") {
            let (from, to) = (attribute(line, "xMin"), attribute(line, "xMax"));
            assert!(from >= 0.0 && to <= width, "{paper}: beyond the edge of {width}: {line}");
        }
    }
    assert!(width > 0.0, "{paper}: there are pages");
}

/// All of it, on one report; returns the number of printed pages.
fn examine(browser: &Browser, name: &str, c: &Certificate) -> usize {
    let file = open(browser, name, c);
    let paint = browser.script(
        "return Math.round(performance.getEntriesByName('first-contentful-paint').map(e => e.startTime)[0] ?? -1)",
    );
    println!("{name}: first paint after {paint} ms");
    let whole = c.gradients.len() < 50;
    for scheme in ["light", "dark"] {
        browser.scheme(scheme);
        std::fs::write(kept(&format!("{name}-{scheme}.png")), browser.screenshot(whole)).expect("it can be written");
    }
    browser.scheme("light");
    is_usable_at_any_width(browser);
    works_by_keyboard(browser, c);
    is_quiet(browser, &file);
    browser.open(&file);
    let pages = prints_completely(browser, name, c);
    println!("{name}: {pages} pages");
    is_quiet(browser, &file);
    if !whole {
        browser.script(SHORTEN);
    }
    for scheme in ["light", "dark"] {
        browser.scheme(scheme);
        is_accessible(browser, &format!("{name}, {scheme}, folded"));
        if whole {
            browser.script("document.querySelectorAll('details').forEach(d => { d.open = true; })");
            is_accessible(browser, &format!("{name}, {scheme}, unfolded"));
            browser.script("document.querySelectorAll('details').forEach(d => { d.open = false; })");
        }
    }
    pages
}

/// Takes away rows and layers beyond the 40th, which are built like those before: axe is slow.
const SHORTEN: &str = "document.querySelectorAll('tbody tr:nth-child(n+41), #layers > details:nth-of-type(n+41), \
    .graph svg > path:nth-of-type(n+41)').forEach(e => e.remove())";

#[test]
fn a_real_report_works_in_a_browser() {
    if have_browser() {
        let c = digits_cnn();
        assert_eq!(c.verdict, ModelVerdict::Certified);
        examine(&Browser::start(), "digits_cnn", &c);
    }
}

#[test]
fn reports_on_failing_models_work_in_a_browser() {
    if have_browser() {
        let browser = Browser::start();
        for name in ["not_certified", "mixed"] {
            let c = sample(&format!("{name}.json"));
            assert_eq!(c.verdict, ModelVerdict::NotCertified);
            examine(&browser, name, &c);
        }
    }
}

#[test]
fn a_thousand_layers_work_in_a_browser() {
    let bytes = report::render(&deep(1000, &["weight", "bias"])).len();
    println!("thousand: {bytes} bytes");
    assert!(bytes < 5_000_000, "{bytes} bytes");
    // Printing twice as many takes minutes.
    if have_browser() {
        let pages = examine(&Browser::start(), "thousand", &deep(1000, &["weight"]));
        assert!(pages <= 200, "{pages} pages");
    }
}

/// Firefox renders, sorts, filters, folds and prints the page like Chromium.
#[test]
fn reports_work_in_firefox() {
    let Some(program) = Firefox::program() else {
        have(&["firefox-esr"], &[]);
        return;
    };
    let browser = Firefox::start(program);
    for (name, c) in [("firefox-certified", sample("certified.json")), ("firefox-mixed", sample("mixed.json"))] {
        let file = kept(&format!("{name}.html"));
        std::fs::write(&file, report::render(&c)).expect("the page can be written");
        browser.open(&file);
        fits(&browser);
        let columns = "const s = document.querySelector('#gradients .scroll'); return s.scrollWidth - s.clientWidth";
        assert!(browser.script(columns).as_i64() <= Some(0), "columns of the table of gradients are out of sight");
        let charts = browser.script("return document.querySelectorAll('figure.chart svg').length");
        assert!(charts.as_u64() >= Some(6), "{charts} charts");
        let empty = "return [...document.querySelectorAll('figure.chart svg')]
            .filter(s => s.getBoundingClientRect().height < 50).map(s => s.id)";
        assert_eq!(browser.script(empty), json!([]), "every chart has a size");
        std::fs::write(kept(&format!("{name}.png")), browser.screenshot()).expect("it can be written");
        works_by_keyboard(&browser, &c);
        assert_eq!(browser.console(), json!([]), "the console is empty");
        assert_eq!(browser.script("return performance.getEntriesByType('resource').length"), 0, "nothing is loaded");
        browser.open(&file);
        let print = kept(&format!("{name}.pdf"));
        std::fs::write(&print, browser.print()).expect("the print can be written");
        if have(&["pdftotext"], &[]) {
            let out = Command::new("pdftotext").arg("-raw").arg(&print).arg("-").output().expect("poppler runs");
            let text: String = String::from_utf8_lossy(&out.stdout).split_whitespace().collect();
            let last = c.gradients.last().expect("there are gradients");
            assert!(text.contains(&format!("{}{}", c.gradients.len(), last.layer)), "the last row is in the print");
            assert!(text.contains("Ihavereadthescopeandacceptwhatisassumed"), "there is a place to sign");
        }
    }
}

/// Names that try to be markup, to run a script, to reverse the text, or to run off the page.
fn hostile() -> Certificate {
    let mut c = sample("certified.json");
    let names = [
        "<script>window.pwned=1;alert(1)</script>".to_owned(),
        "\"><img src=x onerror=window.pwned=2>".into(),
        "'\" onmouseover=window.pwned=3 autofocus onfocus=alert(3) x='".into(),
        "a\u{202e}thgiew\u{2066}".into(),
        "x".repeat(4096),
        "👩‍🔬 ünïcode &amp; &lt;b&gt;".into(),
        "</style></title></svg><svg onload=alert(4)>".into(),
        "]]><!-- {{ gradients }} -->".into(),
    ];
    for (k, name) in names.iter().enumerate() {
        let g = &mut c.gradients[k];
        (g.name, g.layer, g.node, g.op) = (name.clone(), name.clone(), name.clone(), name.clone());
        let l = &mut c.forward[k];
        (l.node, l.op, l.inputs) = (name.clone(), name.clone(), vec![names[k.saturating_sub(1)].clone()]);
        l.onnx = OnnxNode {
            domain: name.clone(),
            opset: 17,
            inputs: names.to_vec(),
            outputs: names.to_vec(),
            attributes: vec![NodeAttribute { name: name.clone(), kind: name.clone(), value: name.clone() }],
        };
    }
    let [script, image, ..] = &names;
    c.model.file.clone_from(script);
    c.model.producer.clone_from(image);
    c.inputs.file = Some(script.clone());
    c.inputs.tensors[0].name.clone_from(image);
    c.outputs[0].name.clone_from(script);
    c.loss[0].output.clone_from(image);
    c.seed[0].output.clone_from(script);
    c.reproduce = vec![script.clone()];
    c.warnings = vec![image.clone()];
    c.notes = vec![script.clone()];
    c.decide(Limits::default()).expect("the figures are consistent");
    c
}

#[test]
fn hostile_names_stay_text_in_a_browser() {
    if !have_browser() {
        return;
    }
    let browser = Browser::start();
    let file = open(&browser, "hostile", &hostile());
    browser.script("document.querySelectorAll('details').forEach(d => { d.open = true; })");
    std::fs::write(kept("hostile.png"), browser.screenshot(true)).expect("it can be written");
    assert!(!browser.dialog(), "a name opened a dialog");
    assert_eq!(browser.script("return window.pwned ?? null"), Value::Null, "a name ran as a script");
    for (selector, count) in [("script", 1), ("style", 1), ("img", 0), ("iframe, object, embed, link", 0)] {
        let script = format!("return document.querySelectorAll('{selector}').length");
        assert_eq!(browser.script(&script), count, "{selector}");
    }
    let handlers = "return [...document.querySelectorAll('*')].flatMap(e => [...e.attributes])
        .filter(a => a.name.startsWith('on') || a.name === 'autofocus' || a.name === 'style').map(a => a.name)";
    assert_eq!(browser.script(handlers), json!([]));
    let shown = browser.script("return document.querySelector('#gradients tbody th a').textContent");
    assert_eq!(shown, "<script>window.pwned=1;alert(1)</script>");
    let text = browser.script("return document.documentElement.textContent");
    let text = text.as_str().expect("text");
    assert!(!text.contains('\u{202e}') && !text.contains('\u{2066}') && !text.contains(&"x".repeat(400)));
    is_quiet(&browser, &file);
    is_accessible(&browser, "hostile");
}

/// Warnings count. The validator doesn't compute hashes of scripts, which the browser does.
const VNU: [&str; 3] = ["--Werror", "--filterpattern", "Inline script violates Content Security Policy.*"];

#[test]
fn reports_are_valid_html() {
    if !have(&["java"], &["vnu.jar"]) {
        return;
    }
    let pages = [
        ("valid-digits_cnn", digits_cnn()),
        ("valid-certified", sample("certified.json")),
        ("valid-not_certified", sample("not_certified.json")),
        ("valid-mixed", sample("mixed.json")),
        ("valid-hostile", hostile()),
        ("valid-deep", deep(300, &["weight", "bias"])),
    ];
    let files = pages.map(|(name, c)| {
        let file = kept(&format!("{name}.html"));
        std::fs::write(&file, report::render(&c)).expect("the page can be written");
        file
    });
    let out = Command::new("java").arg("-jar").arg(tool("vnu.jar")).args(VNU).args(&files).output();
    let out = out.expect("the validator runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}
