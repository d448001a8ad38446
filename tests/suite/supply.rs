//! The supply chain, as far as it can be checked without network: licences and sources of all packages, those
//! that are there in two versions, and where `unsafe` stands. `cargo deny check` with `deny.toml` checks advisories as well.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use super::corpus;

/// All packages of a build here: name, licence, source.
fn packages() -> Vec<(String, String, String)> {
    let rustc = Command::new("rustc").arg("-vV").output().expect("rustc starts");
    let about = String::from_utf8_lossy(&rustc.stdout).into_owned();
    let host = about.lines().find_map(|l| l.strip_prefix("host: ")).expect("a host");
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", host])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo starts");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let all: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
    let text = |v: &serde_json::Value| v.as_str().unwrap_or_default().to_string();
    let list = all["packages"].as_array().expect("packages");
    list.iter().map(|p| (text(&p["name"]), text(&p["license"]), text(&p["source"]))).collect()
}

/// Does a licence expression allow a choice within the list? Alternatives bind less than conjunctions, and
/// no package here nests deeper.
fn allowed(expression: &str, list: &BTreeSet<String>) -> bool {
    // the old ways of writing "or" and "or later"
    let plain = expression.replace(['(', ')'], " ").replace('/', " OR ").replace('+', "-or-later");
    let conjunctions: Vec<&str> = expression.split(") AND ").collect();
    if conjunctions.len() > 1 {
        return conjunctions.iter().all(|c| allowed(c, list));
    }
    plain.split(" OR ").any(|choice| choice.split(" AND ").all(|l| list.contains(l.trim())))
}

#[test]
fn every_package_has_a_licence_and_a_source_that_are_allowed() {
    let deny = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deny.toml")).expect("readable");
    let deny: toml::Table = deny.parse().expect("TOML");
    let strings = |v: &toml::Value| -> BTreeSet<String> {
        v.as_array().expect("a list").iter().map(|s| s.as_str().expect("text").to_string()).collect()
    };
    let list = strings(&deny["licenses"]["allow"]);
    let exceptions = deny["licenses"]["exceptions"].as_array().expect("a list");
    let mut bad = Vec::new();
    let packages = packages();
    assert!(packages.len() > 100, "{} packages", packages.len());
    for (name, licence, source) in &packages {
        if name == env!("CARGO_PKG_NAME") && source.is_empty() {
            continue;
        }
        let own = exceptions.iter().find(|e| e["crate"].as_str() == Some(name)).map(|e| strings(&e["allow"]));
        let list: BTreeSet<String> = list.iter().cloned().chain(own.into_iter().flatten()).collect();
        if !allowed(licence, &list) {
            bad.push(format!("{name}: licence {licence:?}"));
        }
        if !source.starts_with("registry+") {
            bad.push(format!("{name}: source {source:?}"));
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
}

#[test]
fn two_versions_of_one_package_are_known() {
    let read = |f: &str| -> toml::Table {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(f)).expect("readable");
        text.parse().expect("TOML")
    };
    let (lock, deny) = (read("Cargo.lock"), read("deny.toml"));
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for p in lock["package"].as_array().expect("packages") {
        let of = |key: &str| p[key].as_str().expect("text");
        versions.entry(of("name")).or_default().insert(of("version"));
    }
    let skipped = deny["bans"]["skip"].as_array().expect("a list").iter();
    let skipped: BTreeSet<&str> = skipped.map(|s| s["crate"].as_str().expect("text")).collect();
    // all but the one that stays
    let mut twice = BTreeSet::new();
    for (name, all) in versions.iter().filter(|(_, all)| all.len() > 1) {
        let known = all.iter().map(|v| format!("{name}@{v}")).filter(|p| skipped.contains(p.as_str()));
        let known: Vec<String> = known.collect();
        assert_eq!(known.len() + 1, all.len(), "{name} {all:?}: deny.toml says nothing of it, or of all");
        twice.extend(known);
    }
    let stale: Vec<&&str> = skipped.iter().filter(|s| !twice.contains(**s)).collect();
    assert!(stale.is_empty(), "deny.toml skips what isn't there twice: {stale:?}");
}

/// Files with `unsafe` in them; docs/evidence.md says what for.
const UNSAFE: [&str; 8] = [
    "num/environment.rs",
    "num/mag.rs",
    "num/matmul/kernel.rs",
    "num/matmul/tiling.rs",
    "num/matmul/wide.rs",
    "num/parallel.rs",
    "num/sliced/digits.rs",
    "num/sliced/total.rs",
];

#[test]
fn unsafe_code_is_confined_and_argued_for() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut found, mut bare) = (BTreeSet::new(), Vec::new());
    for file in corpus::files(&root, "rs") {
        let name = file.strip_prefix(&root).expect("inside").display().to_string().replace('\\', "/");
        let text = fs::read_to_string(&file).expect("readable");
        let lines: Vec<&str> = text.lines().collect();
        for (i, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let word = |w: &str| code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|x| x == w);
            if !word("unsafe") {
                continue;
            }
            found.insert(name.clone());
            // a function states what callers owe, a block why it is paid
            let near = &lines[i.saturating_sub(14)..i];
            if !near.iter().any(|l| l.contains("SAFETY") || l.contains("# Safety")) {
                bare.push(format!("{name}:{}: {}", i + 1, line.trim()));
            }
        }
    }
    assert!(bare.is_empty(), "unsafe code without its argument: {bare:#?}");
    let listed: BTreeSet<String> = UNSAFE.iter().map(|s| (*s).to_string()).collect();
    assert_eq!(found, listed, "files with unsafe code");
}
