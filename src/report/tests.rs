use std::path::Path;

use super::render;
use crate::certificate::{Certificate, example};

/// Renders, and leaves the page under `target/report-samples/` to be looked at.
fn page(name: &str, c: &Certificate) -> String {
    let html = render(c);
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/report-samples");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join(format!("{name}.html")), &html).unwrap();
    std::fs::write(dir.join(format!("{name}.json")), c.to_json()).unwrap();
    html
}

#[test]
fn the_same_certificate_gives_the_same_bytes() {
    let c = example::certified();
    let html = page("certified", &c);
    assert_eq!(html, render(&c));
    assert_eq!(html, render(&Certificate::from_json(&c.to_json()).unwrap()));
}

#[test]
fn a_thousand_layers_stay_below_five_megabytes() {
    let html = page("deep", &example::deep(1000));
    assert!(html.len() < 5_000_000, "{} bytes", html.len());
    assert!(html.contains("id=\"g1000\"") && html.contains("id=\"d1000\""));
}

#[test]
fn synthetic_inputs_are_said_in_red_and_every_verdict_has_a_word() {
    let html = page("not_certified", &example::not_certified());
    assert!(html.contains("class=\"alarm\"") && html.contains("Synthetic inputs (random seed 18446744073709551615)"));
    for word in ["Not certified", "✗</span> fail", "✓</span> pass", "?</span> undecided", "unbounded", "vacuous"] {
        assert!(html.contains(word), "{word}");
    }
    assert!(!render(&example::certified()).contains("class=\"alarm\""));
}

#[test]
fn hostile_names_are_inert() {
    let html = page("hostile", &example::hostile());
    let lower = html.to_lowercase();
    assert!(!lower.contains("<script"), "no script at all");
    assert!(!lower.contains("<img"), "no image");
    assert_eq!(html.matches("</style>").count(), 1, "the style sheet ends once");
    assert_eq!(html.matches("</title>").count(), 1 + html.matches("<title id=").count());
    assert!(!html.contains('\u{202e}') && !html.contains('\u{1b}'));
    assert!(!html.contains(&"x".repeat(301)), "long names are cut");
    assert!(html.contains("{{ gradients }}"), "template syntax in a name is text");
}

#[test]
fn nothing_is_loaded_and_nothing_runs() {
    for c in [example::certified(), example::not_certified(), example::deep(50), example::empty()] {
        let html = render(&c);
        for bad in ["http:", "https:", "url(", "@import", "src=", "<link", "<script", "style=\"", "javascript:"] {
            assert!(!html.contains(bad), "{bad}");
        }
        assert!(html.contains("default-src 'none'"));
    }
}

#[test]
fn anchors_are_unique_and_links_lead_somewhere() {
    let html = render(&example::not_certified());
    let mut ids: Vec<&str> = html.split(" id=\"").skip(1).map(|s| &s[..s.find('"').unwrap()]).collect();
    ids.sort_unstable();
    let n = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), n, "an id stands twice");
    for target in html.split("href=\"#").skip(1).map(|s| &s[..s.find('"').unwrap()]) {
        assert!(ids.binary_search(&target).is_ok(), "#{target} leads nowhere");
    }
}
