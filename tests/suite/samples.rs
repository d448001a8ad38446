//! The sample reports under `docs/samples/`: real models, real runs.

use std::fs;
use std::path::Path;
use std::process::Command;

use assert_cmd::cargo::CommandCargoExt;
use certify::certificate::{Certificate, ModelVerdict, Policy};
use certify::gate::policy;
use certify::report;
use certify::session::{self, InputChoice, Quiet, Request};

/// Name, model, verdict.
const SAMPLES: [(&str, &str, ModelVerdict); 3] = [
    ("certified", "digits_cnn", ModelVerdict::Certified),
    ("mixed", "digits_resnet_bn", ModelVerdict::NotCertified),
    ("not_certified", "digits_mlp", ModelVerdict::NotCertified),
];

fn make(name: &str, model: &str) -> Certificate {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rules = format!("docs/samples/{name}.toml");
    let text = fs::read_to_string(root.join(&rules)).ok();
    let policy = text.as_ref().map_or_else(Policy::default, |t| policy::parse(t, &rules).expect("a policy"));
    let with = text.map_or_else(String::new, |_| format!(" --policy {rules}"));
    let inputs = InputChoice::Path(root.join(format!("models/{model}.inputs.npz")));
    let request = Request {
        policy,
        reproduce: format!(
            "certify models/{model}.onnx --inputs models/{model}.inputs.npz{with} --report {name}.html --certificate {name}.json"
        ),
        ..Request::new(root.join(format!("models/{model}.onnx")), inputs)
    };
    session::certify(&request, &Quiet).unwrap_or_else(|e| panic!("{name}: {e}")).certificate
}

/// `CERTIFY_BLESS=1` writes them anew. On a machine with other vector instructions than theirs the last
/// digits of radii differ: there verdicts and the rendered pages are compared, and the test says so.
#[test]
fn samples_are_up_to_date() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/samples");
    let bless = std::env::var_os("CERTIFY_BLESS").is_some();
    for (name, model, verdict) in SAMPLES {
        let at = |ending: &str| dir.join(format!("{name}.{ending}"));
        let mut c = make(name, model);
        if bless {
            fs::write(at("json"), c.to_json()).unwrap();
            fs::write(at("html"), report::render(&c)).unwrap();
        }
        let text = fs::read_to_string(at("json")).expect("the sample is there");
        let kept = Certificate::from_json(&text).expect("the sample is a certificate");
        let page = fs::read_to_string(at("html")).expect("the page is there");
        assert!(report::render(&kept) == page, "{name}.html is out of date: run with CERTIFY_BLESS=1");
        assert_eq!((c.verdict, kept.verdict), (verdict, verdict), "{name}");
        if c.environment.simd != kept.environment.simd || c.environment.arch != kept.environment.arch {
            println!("NOT TESTED: the bytes of {name}.json, made with {}", kept.environment.simd);
            continue;
        }
        c.environment = kept.environment.clone();
        c.seal();
        assert!(c.to_json() == text, "{name}.json is out of date: run with CERTIFY_BLESS=1");
    }
}

/// Those decided by a policy's rules as well.
#[test]
fn samples_are_rendered_again_from_their_certificates() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/samples");
    let out = tempfile::tempdir().unwrap();
    for (name, ..) in SAMPLES {
        let page = out.path().join(format!("{name}.html"));
        let mut render = Command::cargo_bin("certify").unwrap();
        let done =
            render.arg("render").arg(dir.join(format!("{name}.json"))).arg("--report").arg(&page).output().unwrap();
        assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
        assert!(fs::read(&page).unwrap() == fs::read(dir.join(format!("{name}.html"))).unwrap(), "{name}");
    }
}
