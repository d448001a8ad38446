//! `certify ops` and `certify explain`: what there are rules for, and what they are.

use std::fmt::Write as _;

use super::{Exit, print};
use crate::error::{Code, Diagnostic};
use crate::import::lower::{Form, NEWEST, OLDEST, table};
use crate::import::objective::DOMAIN;
use crate::ops::{self, Op};
use crate::session::Failure;

/// Prints the table of ONNX operators.
pub(super) fn list() -> Result<Exit, Failure> {
    let forms: Vec<&Form> = public().collect();
    let mut names: Vec<(&str, &str)> = forms.iter().map(|f| (f.domain, f.op)).collect();
    names.sort_unstable();
    names.dedup();
    let mut text = format!("{} operators, operator sets {OLDEST} to {NEWEST} of ONNX\n\n", names.len());
    let width = forms.iter().map(|f| f.name().len()).max().unwrap_or(0).max("operator".len());
    let _ = writeln!(text, "{:width$}  opsets  attributes", "operator");
    for f in forms {
        let line = format!("{:width$}  {:6}  {}", f.name(), opsets(f), f.attributes.join(", "));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text.push_str("\n`certify explain OP` shows how one is read\n");
    print(&text)?;
    Ok(Exit::Good)
}

/// The operators that files have; those of `--loss` are this tool's own.
fn public() -> impl Iterator<Item = &'static Form> {
    table().iter().filter(|f| f.domain != DOMAIN)
}

fn opsets(f: &Form) -> String {
    match (f.since, f.until) {
        (since, NEWEST) => format!("{since}+"),
        (since, until) if since == until => since.to_string(),
        (since, until) => format!("{since}-{until}"),
    }
}

/// Prints the rules of a primitive, the forms of an ONNX operator, or both where they share a name.
pub(super) fn explain(name: &str) -> Result<Exit, Failure> {
    let forms: Vec<&Form> = public().filter(|f| f.name().eq_ignore_ascii_case(name)).collect();
    let primitive = ops::explain(name);
    if forms.is_empty() && primitive.is_none() {
        return Err(unknown(name).into());
    }
    let mut text = String::new();
    if let Some(first) = forms.first() {
        let _ = writeln!(text, "ONNX operator {}: lowered to primitives by `{}`\n", first.name(), first.lowering);
        for f in &forms {
            let attributes = if f.attributes.is_empty() { "none".into() } else { f.attributes.join(", ") };
            let _ = writeln!(text, "  operator sets {:6}  attributes: {attributes}", opsets(f));
        }
    }
    if let Some(rules) = primitive {
        if !text.is_empty() {
            text.push('\n');
        }
        let canonical = Op::REGISTRY.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map_or(name, |(n, _)| n);
        let _ = write!(text, "primitive {canonical}\n\n{rules}");
    }
    print(&text)?;
    Ok(Exit::Good)
}

fn unknown(name: &str) -> Diagnostic {
    let d = Diagnostic::new(Code::Unsupported, format!("operator \"{name}\" has no rules"));
    let near = nearest(name);
    match near.as_slice() {
        [] => d.help("`certify ops` lists the operators with rules"),
        _ => d.help(format!("is it {}? `certify ops` lists the operators with rules", near.join(" or "))),
    }
}

/// At most three names that differ in little.
fn nearest(name: &str) -> Vec<String> {
    let wanted = name.to_lowercase();
    let allowed = (wanted.chars().count() / 3).clamp(1, 3);
    let names = table().iter().map(|f| f.op).chain(Op::REGISTRY.iter().map(|(n, _)| *n));
    let mut near: Vec<(usize, &str)> =
        names.map(|n| (distance(&wanted, &n.to_lowercase()), n)).filter(|(d, _)| *d <= allowed).collect();
    near.sort_unstable();
    near.dedup();
    near.iter().take(3).map(|(_, n)| format!("\"{n}\"")).collect()
}

/// Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours that turn
/// one word into the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        rows[i][0] = i;
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            // d(i,j) = min of deletion, insertion, substitution, and a swap where the last two cross
            let mut d = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                d = d.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = d;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_names_are_close_to_what_was_meant() {
        assert_eq!([distance("softmax", "sotfmax"), distance("relu", "rel"), distance("", "abc")], [1, 1, 3]);
        assert_eq!(nearest("Sotfmax"), ["\"Softmax\""]);
        assert!(nearest("BatchNormalisation").contains(&"\"BatchNormalization\"".to_string()));
        assert!(nearest("Quux").is_empty());
    }
}
