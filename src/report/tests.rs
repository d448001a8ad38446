use std::collections::HashSet;
use std::path::Path;

use serde_json::Value;

use super::render;
use crate::certificate::{Certificate, Enclosure, LimitRule, Num, Rung, decimal, example};

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
    // a thousand layers, each with a weight and a bias, and nodes with and without parameters
    for id in ["id=g2000>", "id=d2000>", "<td>2000<th scope=row>"] {
        assert!(html.contains(id), "{id}");
    }
}

#[test]
fn the_graph_is_drawn_with_its_lines() {
    let html = render(&example::certified());
    let svg = &html[html.find("<svg id=\"graph-chart\"").unwrap()..];
    let svg = &svg[..svg.find("</svg>").unwrap()];
    assert!(svg.contains("#11 /loss (SoftmaxCrossEntropyLoss)"));
    // One line passes by a node: it ends in an arrow.
    assert_eq!(svg.matches("m-5-3l5 3l-5 3").count(), 1);
    assert!(html.contains("<td>#3, #4"), "the twin has the same lines");
    let deep = render(&example::deep(300));
    assert!(deep.contains(">#17<") && deep.contains("class=\"unprinted\"") && !html.contains("class=\"unprinted\""));
}

#[test]
fn the_policys_rules_stand_with_the_decision_rule_and_in_the_first_chart() {
    let mut c = example::failing();
    let strict = LimitRule { pattern: "features.*".into(), min_correct_digits: Num::new(9.0), ..LimitRule::default() };
    let loose = LimitRule { pattern: "*".into(), max_rel: Num::new(0.01), ..LimitRule::default() };
    c.decision_rule.limits = vec![strict];
    let html = render(&c);
    let section = &html[..html.find("id=\"scope\"").unwrap()];
    assert!(section.contains("<bdi>features.*</bdi></th><td>at least 9 correct digits</td>"));
    assert!(
        html.contains(">limit by the policy: features.*<") && html.contains(">limit for gradients above the floor<")
    );
    c.decision_rule.limits.push(loose);
    let html = render(&c);
    assert!(html.contains("<td>error ≤ 0.01 · max(‖g‖∞, floor)</td>") && html.contains(">limit by the policy: *<"));
    assert!(!html.contains(">limit for gradients above the floor<"), "no gradient has the default");
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
fn a_gradient_whose_limit_is_0_has_a_bar_of_its_own() {
    let mut c = example::failing();
    for (k, hi) in [(0, 0.0), (1, 1e-9)] {
        (c.gradients[k].limit, c.gradients[k].margin) = (Num::ZERO, None);
        c.gradients[k].observed = Enclosure::of(0.0, hi);
    }
    let html = render(&c);
    assert!(html.contains(">T = 0, met<") && html.contains(">T = 0, not met<"));
    assert!(!render(&example::failing()).contains(">T = 0"));
}

#[test]
fn a_node_is_shown_once_with_its_attributes() {
    let html = render(&example::certified());
    let node = "<dt>ONNX node<dd>/features/0/Conv<dt>type<dd>Conv (ai.onnx 17)<dt>inputs<dd>(left out)<dt>outputs\
        <dd>/features/0/Conv_output_0<dt>shape<dd>32×16<dt>auto_pad<dd>NOTSET (STRING)<dt>group<dd>1 (INT)<dt>pads\
        <dd>[1, 1, 1, 1] (INTS)</dl>";
    assert_eq!(html.matches(node).count(), 1);
    assert!(html.contains("ONNX node <a href=#d1><bdi>/features/0/Conv</bdi></a>"), "the bias leads to it");
}

#[test]
fn synthetic_inputs_are_said_in_red_and_every_verdict_has_a_word() {
    let html = page("not_certified", &example::not_certified());
    assert!(html.contains("class=\"alarm\"") && html.contains("Synthetic inputs (random seed 18446744073709551615)"));
    for word in [
        "Not certified",
        "<td class=fail>fail",
        "<td class=pass>pass",
        "<td class=open>undecided",
        "unbounded",
        "vacuous",
    ] {
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
    let values = |name: &str| -> Vec<&str> {
        let end = |s: &str| s.find(['"', '>', ' ']).unwrap();
        html.split(name).skip(1).map(|s| s.strip_prefix('"').unwrap_or(s)).map(|s| &s[..end(s)]).collect()
    };
    let mut ids = values(" id=");
    ids.sort_unstable();
    let n = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), n, "an id stands twice");
    let targets = values(" href=");
    assert!(targets.len() > 40, "{} links", targets.len());
    for target in targets {
        let id = target.strip_prefix('#').unwrap_or_else(|| panic!("{target} leads out of the page"));
        assert!(ids.binary_search(&id).is_ok(), "#{id} leads nowhere");
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

/// The numbers of a page that aren't in its certificate.
fn foreign(c: &Certificate, html: &str) -> Vec<String> {
    let mut known = HashSet::new();
    shown(&serde_json::from_str(&c.to_json()).unwrap(), &mut known);
    // Rows are numbered, and SHA-256 has a number in its name.
    known.extend((1..=c.gradients.len().max(c.forward.len())).map(|n| n.to_string()));
    known.insert("256".into());
    numbers(&figures_of(html)).into_iter().filter(|n| !known.contains(n)).collect()
}

#[test]
fn every_number_in_the_page_is_in_the_certificate() {
    let mut by_policy = example::failing();
    let rule = example::hostile().decision_rule;
    (by_policy.decision_rule.limits, by_policy.decision_rule.waivers) = (rule.limits, rule.waivers);
    by_policy.decision_rule.waivers_judged_on = rule.waivers_judged_on;
    let small = [example::certified(), example::failing(), example::not_certified(), by_policy];
    for c in small.into_iter().chain([30, 160].map(example::deep)) {
        let html = render(&c);
        assert_eq!(foreign(&c, &html), [""; 0], "not in the certificate");
        // A figure of another run would be found, wherever it stands.
        let mut other = c.clone();
        let g = &mut other.gradients[1];
        g.observed = Enclosure::of(g.observed.lo() * 0.7513, g.observed.hi() * 1.317);
        g.worst.as_mut().unwrap().ulps = Num::of(7.7731);
        g.histogram.as_mut().unwrap().counts[2] = 8191;
        let hi = g.observed.hi();
        other.forward[0].onnx.attributes[1].value = "4711".into();
        let found = foreign(&c, &render(&other));
        let new = [decimal::up(hi, 10), "7.78".into(), "8191".into(), "4711".into()];
        for n in new {
            assert!(found.contains(&n), "{n} isn't among {found:?}");
        }
    }
}

/// A row of the table of gradients: the lines of its cells, without tags.
fn cells(row: &str) -> Vec<Vec<String>> {
    let text = |line: &str| {
        let parts = line.split('<').enumerate();
        parts.map(|(k, part)| if k == 0 { part } else { part.split_once('>').unwrap().1 }).collect::<String>()
    };
    let cell = |cell: &str| {
        let lines = cell.split_once('>').unwrap().1.replace("<br>", "\n").replace("<p>", "\n");
        lines.trim_end().split('\n').map(text).collect()
    };
    row.split("<td").skip(1).map(cell).collect()
}

#[test]
fn figures_are_rounded_outward_and_none_is_shown_as_0() {
    // Read as a number, a decimal above x is at least x.
    let number = |shown: &str| shown.parse::<f64>().unwrap_or_else(|e| panic!("{shown}: {e}"));
    let is = |shown: &str, x: f64, up: bool| {
        let n = number(shown);
        let outward = if up { n >= x && n <= x * 1.011 } else { n <= x && n >= x * 0.989 };
        assert!(outward && (shown == "0") == (x == 0.0), "{x} is shown as {shown}");
    };
    let or_none = |shown: &str, x: Option<Num>| match x {
        Some(x) => is(shown, x.get(), true),
        None => assert!(["–", "unbounded"].contains(&shown), "{shown}"),
    };
    let mut tiny = example::certified();
    tiny.gradients[0].observed = Enclosure::of(5e-324, 4e-310);
    tiny.gradients[0].max_abs = Num::of(1.0000001e-45);
    for c in [example::certified(), example::failing(), example::not_certified(), example::deep(160), tiny] {
        let html = render(&c);
        let rungs: Vec<Rung> = super::gradients::rungs(&c).0;
        for (i, g) in c.gradients.iter().enumerate() {
            let row = &html[html.find(&format!("<tr id=g{}>", i + 1)).unwrap()..];
            let cells = cells(&row[..row.find("\n").unwrap()]);
            assert_eq!(cells.len(), 5 + rungs.len() + 4);
            is(&cells[2][0], g.max_abs.get(), true);
            or_none(&cells[2][1], g.scale);
            is(&cells[3][0], g.observed.lo(), false);
            is(&cells[3][1], g.observed.hi(), true);
            for (cell, &r) in cells[5..].iter().zip(&rungs) {
                or_none(&cell[0], g.bounds.get(r).and_then(|b| b.abs));
            }
            let [tolerance, limit, gates, verdict] = &cells[5 + rungs.len()..] else { panic!() };
            or_none(&tolerance[0], g.tolerance.atol);
            or_none(&tolerance[1], g.tolerance.rtol);
            is(&limit[0], g.limit.get(), false);
            is(&limit[1], g.detection.limit.get(), true);
            assert_eq!(number(&gates[0].replace('\u{202f}', "")), g.undecided_gates as f64);
            assert_eq!(verdict[0], super::cell::mark(g.verdict).word);
        }
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
        let tags = tags(&text);
        seen += tags.len();
        for tag in tags {
            assert!(decides_nothing(tag), "{}: {tag}", file.display());
        }
    }
    assert!(seen > 200, "{seen} tags");
    for bad in ["{{ a + 1 }}", "{% if a == b %}", "{{ f(a) }}", "{% if a || b %}", "{{ a * b }}", "{% if n > 3 %}"] {
        assert!(tags(bad).iter().any(|t| !decides_nothing(t)), "{bad}");
    }
}

/// What stands between the braces of a template.
fn tags(text: &str) -> Vec<&str> {
    let of = |(open, close)| text.split(open).skip(1).map(move |t: &str| t.split(close).next().unwrap());
    let inner = [("{{", "}}"), ("{%", "%}")].into_iter().flat_map(of);
    inner.map(|tag| tag.trim_start_matches('-').trim()).collect()
}

/// Is it a name, a call without arguments, a filter, a negation, a pattern, a loop over a name or an inclusion?
fn decides_nothing(tag: &str) -> bool {
    let rest = tag.strip_prefix("if let Some(").map_or(tag, |t| t.split_once(") = ").unwrap().1);
    let plain = rest.chars().all(|c| c.is_ascii_alphanumeric() || " _.!|()".contains(c));
    let arguments = rest.replace("()", "").contains(['(', ')']) || rest.contains("||");
    plain && !arguments || tag.starts_with("include ")
}
