use std::collections::HashSet;
use std::path::Path;

use serde_json::Value;

use super::render;
use crate::certificate::{Certificate, decimal, example};

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
fn the_graph_is_drawn_with_its_lines() {
    let html = render(&example::certified());
    let svg = &html[html.find("<svg id=\"graph-chart\"").unwrap()..];
    let svg = &svg[..svg.find("</svg>").unwrap()];
    assert!(svg.contains("#11 /loss (SoftmaxCrossEntropyLoss)"));
    // One line passes by a node: it ends in an arrow.
    assert_eq!(svg.matches("m-5-3l5 3l-5 3").count(), 1);
    assert!(html.contains("<td class=\"l\">#3, #4"), "the twin has the same lines");
    let deep = render(&example::deep(300));
    assert!(deep.contains(">#17<") && deep.contains("class=\"unprinted\"") && !html.contains("class=\"unprinted\""));
}

#[test]
fn margins_stand_in_decades() {
    let html = render(&example::failing());
    let svg = &html[html.find("<svg id=\"margin-chart\"").unwrap()..];
    let svg = &svg[..svg.find("</svg>").unwrap()];
    let bars = |class: &str| svg.matches(&format!("<g class=\"bin {class}\">")).count();
    assert!(bars("pass") == 2 && bars("fail") == 1, "{} {}", bars("pass"), bars("fail"));
    for text in [">1e-4 – 1e-3<", ">0.01 – 0.1<", ">1 – 10<", ">100 – 1e3<"] {
        assert!(svg.contains(text), "{text}");
    }
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
    assert_eq!(lower.matches("<script").count(), 1, "no script but the page's own");
    assert_eq!(lower.matches("</script").count(), 1);
    assert!(!lower.contains("<img"), "no image");
    assert_eq!(html.matches("</style>").count(), 1, "the style sheet ends once");
    assert_eq!(html.matches("</title>").count(), 1 + html.matches("<title id=").count());
    assert!(!html.contains('\u{202e}') && !html.contains('\u{1b}'));
    assert!(!html.contains(&"x".repeat(301)), "long names are cut");
    assert!(html.contains("{{ gradients }}"), "template syntax in a name is text");
}

#[test]
fn nothing_is_loaded() {
    for c in [example::certified(), example::not_certified(), example::deep(50), example::empty()] {
        let html = render(&c);
        for bad in ["http:", "https:", "url(", "@import", "src=", "<link", "style=\"", "javascript:"] {
            assert!(!html.contains(bad), "{bad}");
        }
        assert!(html.contains("default-src 'none'") && html.contains("script-src 'sha256-"));
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

#[test]
fn base64_is_that_of_the_standard() {
    // RFC 4648, section 10.
    for (plain, coded) in
        [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE=")]
    {
        assert_eq!(super::base64(plain.as_bytes()), coded);
    }
}

/// Every way in which the page may show a number of the certificate.
fn shown(value: &Value, into: &mut HashSet<String>) {
    match value {
        Value::Number(n) => {
            let x = n.as_f64().unwrap();
            for digits in [3, 10] {
                into.insert(decimal::up(x.abs(), digits));
                into.insert(decimal::down(x.abs(), digits));
            }
            into.insert(decimal::full(x.abs()));
            into.insert(format!("{x:.1}"));
        }
        Value::String(s) => into.extend(numbers(s)),
        Value::Array(a) => a.iter().for_each(|v| shown(v, into)),
        Value::Object(o) => o.values().for_each(|v| shown(v, into)),
        _ => {}
    }
}

/// The unsigned decimal numbers in a text that stand on their own.
fn numbers(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let (mut found, mut i) = (Vec::new(), 0);
    while i < chars.len() {
        let before = i.checked_sub(1).map(|j| chars[j]);
        if !chars[i].is_ascii_digit() || before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '.') {
            i += 1;
            continue;
        }
        let start = i;
        let digits = |mut i: usize| {
            while i < chars.len() && chars[i].is_ascii_digit() {
                i += 1;
            }
            i
        };
        i = digits(i);
        if i + 1 < chars.len() && chars[i] == '.' && chars[i + 1].is_ascii_digit() {
            i = digits(i + 1);
        }
        let sign = usize::from(chars.get(i + 1) == Some(&'-'));
        if chars.get(i) == Some(&'e') && chars.get(i + 1 + sign).is_some_and(char::is_ascii_digit) {
            i = digits(i + 1 + sign);
        }
        found.push(chars[start..i].iter().collect());
    }
    found
}

/// The text of a page, without what is the same in every page: style, script, glossary; and without
/// the charts, whose axes are labelled with powers of ten and whose figures stand in their tables.
fn figures_of(html: &str) -> String {
    let mut text = html.to_string();
    for (open, close) in
        [("<style", "</style>"), ("<script", "</script>"), ("<svg", "</svg>"), ("<dl class=\"glossary\"", "</dl>")]
    {
        while let Some(a) = text.find(open) {
            let b = a + text[a..].find(close).unwrap() + close.len();
            text.replace_range(a..b, " ");
        }
    }
    let mut plain = String::new();
    let mut tag = false;
    for c in text.chars() {
        match c {
            '<' => tag = true,
            '>' => {
                tag = false;
                plain.push(' ');
            }
            _ if !tag => plain.push(c),
            _ => {}
        }
    }
    // Character references hold digits; thousands are set apart by narrow spaces.
    plain
        .replace("&#38;", " ")
        .replace("&#60;", " ")
        .replace("&#62;", " ")
        .replace("&#39;", " ")
        .replace("&#34;", " ")
        .replace('\u{202f}', "")
}

#[test]
fn every_number_in_the_page_is_in_the_certificate() {
    for c in [example::certified(), example::failing(), example::not_certified(), example::deep(30)] {
        let mut known = HashSet::new();
        shown(&serde_json::from_str(&c.to_json()).unwrap(), &mut known);
        // Rows are numbered.
        known.extend((1..=c.gradients.len().max(c.forward.len())).map(|n| n.to_string()));
        let foreign: Vec<String> = numbers(&figures_of(&render(&c)))
            .into_iter()
            // SHA-256, and the one chart caption that counts what it leaves out.
            .filter(|n| !known.contains(n) && n != "256")
            .collect();
        assert!(foreign.is_empty(), "not in the certificate: {foreign:?}");
    }
}

#[test]
fn templates_neither_compute_nor_compare() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/report");
    let mut seen = 0;
    for file in std::fs::read_dir(dir).unwrap().map(|f| f.unwrap().path()) {
        if file.extension().is_none_or(|e| e != "html") {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        for (open, close) in [("{{", "}}"), ("{%", "%}")] {
            for tag in text.split(open).skip(1).map(|t| t.split(close).next().unwrap()) {
                let tag = tag.trim_start_matches('-').trim();
                // what isn't a name, a call without arguments, a filter, a negation or a pattern
                let rest = tag.strip_prefix("if let Some(").map_or(tag, |t| t.split_once(") = ").unwrap().1);
                let plain =
                    rest.chars().all(|c| c.is_ascii_alphanumeric() || " _.!|".contains(c) || c == '(' || c == ')');
                let arguments = rest.replace("()", "").contains(['(', ')']) || rest.contains("||");
                let allowed = plain && !arguments || tag.starts_with("include ");
                assert!(allowed, "{}: {tag}", file.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 200, "{seen} tags");
}
