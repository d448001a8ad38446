//! Results in the formats of release machinery: JUnit XML, SARIF 2.1.0, in-toto test-result.
//!
//! All three are made from the same [`Findings`], are the same bytes for the same result, and name the
//! digest of the certificate or check that they were made from.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use serde_json::{Value, json};

use super::check::Checked;
use crate::certificate::{Certificate, ModelVerdict, Status, decimal};

/// One gradient's result.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The parameter.
    pub name: String,
    /// Its layer.
    pub layer: String,
    /// The rule that was broken, or `gradient-limit`.
    pub rule: &'static str,
    /// Pass, fail or undecided.
    pub status: Status,
    /// Why a failure is accepted.
    pub waived: Option<String>,
    /// The figures, and the causes of a failure.
    pub message: String,
}

/// All results about one model.
#[derive(Clone, Debug, PartialEq)]
pub struct Findings {
    /// What was done: `certify` or `certify check`.
    pub command: &'static str,
    /// Last component of the model's file name.
    pub model: String,
    /// Its SHA-256.
    pub model_sha256: String,
    /// What else the result rests on: name and SHA-256 of inputs and gradients.
    pub materials: Vec<(String, String)>,
    /// Name of the policy.
    pub policy: String,
    /// Digest of the document.
    pub digest: String,
    /// The verdict on the whole.
    pub verdict: Status,
    /// One per gradient, in the order of the model.
    pub findings: Vec<Finding>,
    /// Warnings about the model as a whole.
    pub warnings: Vec<String>,
}

/// The rules of the SARIF log: identifier and what it says.
const RULES: [(&str, &str); 5] = [
    ("gradient-limit", "the error of a gradient is within its limit"),
    ("gradient-missing", "every parameter has a gradient"),
    ("gradient-shape", "a gradient has the shape of its parameter"),
    ("gradient-finite", "every entry of a gradient is finite"),
    ("policy-requirement", "what the policy asks of bounds and gates holds"),
];

impl From<&Checked> for Findings {
    fn from(c: &Checked) -> Findings {
        let one = |t: &super::check::TensorCheck| {
            let has = |ids: &[&str]| t.causes.iter().any(|c| ids.contains(&c.id.as_str()));
            let rule = if t.given_as.is_none() {
                "gradient-missing"
            } else if has(&["not-finite"]) {
                "gradient-finite"
            } else if t.given_shape.as_ref() != Some(&t.shape) {
                "gradient-shape"
            } else {
                "gradient-limit"
            };
            let mut message = t.observed.map_or_else(String::new, |o| figures(o, t.limit.get()));
            for cause in &t.causes {
                message += if message.is_empty() { "" } else { "; " };
                message += &cause.text;
            }
            let (name, layer) = (t.name.clone(), t.layer.clone());
            Finding { name, layer, rule, status: t.verdict, waived: t.waiver.clone(), message }
        };
        let named = |f: Option<&String>, sha: &str| (f.cloned().unwrap_or_else(|| "inputs".into()), sha.to_string());
        Findings {
            command: "certify check",
            model: c.model.file.clone(),
            model_sha256: c.model.sha256.clone(),
            materials: vec![
                named(c.inputs.file.as_ref(), &c.inputs.sha256),
                named(Some(&c.gradients.file), &c.gradients.sha256),
            ],
            policy: c.decision_rule.policy.clone(),
            digest: c.digest.clone().unwrap_or_default(),
            verdict: c.verdict,
            findings: c.tensors.iter().map(one).collect(),
            warnings: c
                .warnings
                .iter()
                .cloned()
                .chain(c.hints.iter().map(|h| h.text.clone()))
                .chain(c.entry.clone())
                .collect(),
        }
    }
}

impl From<&Certificate> for Findings {
    fn from(c: &Certificate) -> Findings {
        let one = |g: &crate::certificate::Gradient| {
            let mut message = figures(g.observed, g.limit.get());
            for more in g.breaches.iter().chain(&g.warnings) {
                message += "; ";
                message += more;
            }
            let rule = if g.breaches.is_empty() { "gradient-limit" } else { "policy-requirement" };
            let (name, layer) = (g.name.clone(), g.layer.clone());
            Finding { name, layer, rule, status: g.verdict, waived: g.waiver.clone(), message }
        };
        Findings {
            command: "certify",
            model: c.model.file.clone(),
            model_sha256: c.model.sha256.clone(),
            materials: vec![(
                c.inputs.file.clone().unwrap_or_else(|| "synthetic inputs".into()),
                c.inputs.sha256.clone(),
            )],
            policy: c.decision_rule.policy.clone(),
            digest: c.digest.clone().unwrap_or_default(),
            verdict: match c.verdict {
                ModelVerdict::Certified => Status::Pass,
                ModelVerdict::NotCertified => Status::Fail,
                ModelVerdict::Undecided => Status::Undecided,
            },
            findings: c.gradients.iter().map(one).collect(),
            warnings: c.warnings.clone(),
        }
    }
}

fn figures(o: crate::certificate::Enclosure, limit: f64) -> String {
    format!("error in [{}, {}], limit {}", decimal::down(o.lo(), 3), decimal::up(o.hi(), 3), decimal::down(limit, 3))
}

/// JUnit XML, as CI servers read it: one test case per gradient. Undecided is an error, a waived failure
/// is skipped.
pub fn junit(f: &Findings) -> String {
    let mut suite = TestSuite::new(format!("{} {}", f.command, f.model));
    suite.add_property(("model-sha256", f.model_sha256.as_str()));
    suite.add_property(("policy", f.policy.as_str()));
    suite.add_property(("digest", f.digest.as_str()));
    for one in &f.findings {
        let mut status = match (one.status, &one.waived) {
            (Status::Pass | Status::NotApplicable, _) => TestCaseStatus::success(),
            (_, Some(_)) => TestCaseStatus::skipped(),
            (Status::Fail, _) => TestCaseStatus::non_success(NonSuccessKind::Failure),
            (Status::Undecided, _) => TestCaseStatus::non_success(NonSuccessKind::Error),
        };
        if one.status != Status::Pass {
            let text = one.waived.as_ref().map_or_else(|| one.message.clone(), |w| format!("{w} ({})", one.message));
            status.set_message(text).set_type(one.rule);
        }
        let mut case = TestCase::new(one.name.as_str(), status);
        case.set_classname(if one.layer.is_empty() { f.model.as_str() } else { one.layer.as_str() });
        if one.status == Status::Pass {
            case.set_system_out(one.message.as_str());
        }
        suite.add_test_case(case);
    }
    // A verdict on the whole that no gradient explains must not look like success.
    if f.verdict != Status::Pass && f.findings.iter().all(|o| o.status == Status::Pass || o.waived.is_some()) {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_message(f.warnings.join("; ")).set_type("model");
        suite.add_test_case(TestCase::new("the model as a whole", status));
    }
    let mut report = Report::new("certify");
    report.add_test_suite(suite);
    // Writing to memory doesn't fail, and the texts are cleaned of what XML can't hold.
    let text = report.to_string().expect("a JUnit report is always serialisable");
    // The schema knows "skipped" in a suite only; the first one stands in the element around the suites.
    let skips = |o: &&Finding| !matches!(o.status, Status::Pass | Status::NotApplicable) && o.waived.is_some();
    let skipped = f.findings.iter().filter(skips).count();
    // XML 1.0, section 2.2: no character, and not escapable either.
    text.replacen(&format!(" skipped=\"{skipped}\""), "", 1).replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}")
}

/// SARIF 2.1.0, as code scanning reads it: one result per gradient that doesn't pass.
pub fn sarif(f: &Findings) -> String {
    let rules: Vec<Value> =
        RULES.iter().map(|(id, text)| json!({ "id": id, "shortDescription": { "text": text } })).collect();
    let result = |one: &Finding| {
        let place = json!({
            "physicalLocation": { "artifactLocation": { "uri": uri(&f.model), "index": 0 } },
            "logicalLocations": [{ "name": one.name, "fullyQualifiedName": qualified(one), "kind": "parameter" }],
        });
        let suppressions: Vec<Value> = one
            .waived
            .iter()
            .map(|w| json!({ "kind": "external", "status": "accepted", "justification": w }))
            .collect();
        json!({
            "ruleId": one.rule,
            "ruleIndex": RULES.iter().position(|(id, _)| *id == one.rule),
            "kind": if one.status == Status::Undecided { "open" } else { "fail" },
            // only failures have a level
            "level": if one.status == Status::Undecided { "none" } else { "error" },
            "message": { "text": format!("gradient of \"{}\": {}", one.name, one.message) },
            "locations": [place],
            "partialFingerprints": { "parameter/v1": format!("{}:{}", one.rule, one.name) },
            "suppressions": suppressions,
        })
    };
    let results: Vec<Value> = f.findings.iter().filter(|o| o.status != Status::Pass).map(result).collect();
    let notes: Vec<Value> =
        f.warnings.iter().map(|w| json!({ "level": "warning", "message": { "text": w } })).collect();
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "certify", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "artifacts": [{ "location": { "uri": uri(&f.model) }, "hashes": { "sha-256": f.model_sha256 } }],
            "invocations": [{ "executionSuccessful": true, "toolExecutionNotifications": notes }],
            "results": results,
            "properties": { "verdict": f.verdict, "policy": f.policy, "digest": f.digest },
        }],
    });
    pretty(&log)
}

/// The statement of in-toto's attestation framework, version 1, with the predicate test-result 0.1: its
/// subject is the model, by hash.
pub fn in_toto(f: &Findings) -> String {
    let names = |s: Status| -> Vec<&str> {
        f.findings.iter().filter(|o| o.status == s && o.waived.is_none()).map(|o| o.name.as_str()).collect()
    };
    let waived = f.findings.iter().filter(|o| o.waived.is_some()).map(|o| o.name.as_str());
    let warned: Vec<&str> = names(Status::Undecided).into_iter().chain(waived).collect();
    let mut configuration: Vec<Value> =
        f.materials.iter().map(|(name, sha)| json!({ "name": name, "digest": { "sha256": sha } })).collect();
    configuration.push(json!({
        "name": if f.command == "certify" { "certificate" } else { "check" },
        "digest": { "sha256": f.digest },
        "mediaType": "application/json",
        "annotations": { "canonicalization": "RFC 8785 without the key \"digest\"", "policy": f.policy },
    }));
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "name": f.model, "digest": { "sha256": f.model_sha256 } }],
        "predicateType": "https://in-toto.io/attestation/test-result/v0.1",
        "predicate": {
            "result": match f.verdict { Status::Pass if warned.is_empty() => "PASSED", Status::Fail => "FAILED", _ => "WARNED" },
            "configuration": configuration,
            "passedTests": names(Status::Pass),
            "warnedTests": warned,
            "failedTests": names(Status::Fail),
        },
    });
    pretty(&statement)
}

fn qualified(one: &Finding) -> String {
    if one.layer.is_empty() || one.name.starts_with(&one.layer) {
        one.name.clone()
    } else {
        format!("{}/{}", one.layer, one.name)
    }
}

/// A file name as a relative URI reference (RFC 3986): all but unreserved characters are escaped.
fn uri(name: &str) -> String {
    name.bytes().fold(String::new(), |mut out, b| {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(b)),
            b => out += &format!("%{b:02X}"),
        }
        out
    })
}

fn pretty(v: &Value) -> String {
    let mut text = serde_json::to_string_pretty(v).expect("a document is always serialisable");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::example;

    fn all() -> Vec<Findings> {
        [example::certified(), example::not_certified(), example::hostile()]
            .into_iter()
            .map(|mut c| {
                c.seal();
                Findings::from(&c)
            })
            .collect()
    }

    #[test]
    fn junit_counts_what_the_certificate_says() {
        for f in all() {
            let xml = junit(&f);
            assert_eq!(xml, junit(&f), "the same bytes again");
            let count = |s: Status| f.findings.iter().filter(|o| o.status == s && o.waived.is_none()).count();
            let has = |what: String| assert!(xml.contains(&what), "{what} in {xml}");
            has(format!("failures=\"{}\"", count(Status::Fail)));
            has(format!("<property name=\"digest\" value=\"{}\"/>", f.digest));
            assert_eq!(xml.matches("<testcase ").count(), f.findings.len());
            // Hostile names are escaped, and control characters don't occur.
            assert!(!xml.contains("<script") && !xml.contains('\u{1b}'));
        }
    }

    #[test]
    fn sarif_has_what_the_standard_requires() {
        for f in all() {
            let log: Value = serde_json::from_str(&sarif(&f)).unwrap();
            assert_eq!(log["version"], "2.1.0");
            let run = &log["runs"][0];
            assert_eq!(run["tool"]["driver"]["name"], "certify");
            let results = run["results"].as_array().unwrap();
            assert_eq!(results.len(), f.findings.iter().filter(|o| o.status != Status::Pass).count());
            for r in results {
                let rule = r["ruleIndex"].as_u64().unwrap() as usize;
                assert_eq!(run["tool"]["driver"]["rules"][rule]["id"], r["ruleId"]);
                assert!(r["message"]["text"].as_str().unwrap().contains("gradient of"));
                // A result of a kind other than "fail" must have the level "none" (3.27.10).
                assert_eq!(r["kind"] == "fail", r["level"] == "error");
            }
        }
    }

    #[test]
    fn in_toto_names_every_gradient_once_and_the_model_by_hash() {
        for f in all() {
            let s: Value = serde_json::from_str(&in_toto(&f)).unwrap();
            assert_eq!(s["_type"], "https://in-toto.io/Statement/v1");
            assert_eq!(s["subject"][0]["digest"]["sha256"], f.model_sha256.as_str());
            let p = &s["predicate"];
            let n: usize =
                ["passedTests", "warnedTests", "failedTests"].iter().map(|k| p[k].as_array().unwrap().len()).sum();
            assert_eq!(n, f.findings.len());
            assert_eq!(p["result"] == "FAILED", f.verdict == Status::Fail);
            assert!(["PASSED", "WARNED", "FAILED"].contains(&p["result"].as_str().unwrap()));
        }
    }
}
