//! `certify verify CERT --model MODEL`.

use std::fmt::Write as _;

use super::args::{ExtraArgs, GraphArgs, Verify};
use super::progress::Spinner;
use super::{Exit, prepare, print, request};
use crate::error::{Code, Diagnostic, printable};
use crate::gate::verify::{Answer, Extent, verify};
use crate::session::Failure;

pub(super) fn run(args: Verify) -> Result<Exit, Failure> {
    prepare(&args.run)?;
    let file = args.certificate.display().to_string();
    let text = crate::limits::read_to_string(&args.certificate)
        .map_err(|e| Diagnostic::new(Code::Io, format!("the certificate can't be read: {e}")).file(&file))?;
    let graph = GraphArgs::from(args.graph);
    let request = request::of(&graph, ExtraArgs::default(), args.policy.as_deref())?;
    let extent = if args.full { Extent::Full } else { Extent::Sample(args.sample) };
    let spinner = Spinner::new(&args.run);
    let v = verify(&text, &request, extent, &spinner)?;
    drop(spinner);
    let word = match v.answer {
        Answer::Consistent => "consistent",
        Answer::Divergent => "DIVERGENT",
        Answer::Unverifiable => "unverifiable",
    };
    let mut out = format!("answer       {word}: {}\n", printable(&file));
    if v.bits > 0 {
        let (some, all) = v.derived;
        let how = match v.sample {
            None => "every gradient".to_string(),
            Some(seed) => format!("a sample with seed {seed}; --full derives all"),
        };
        let _ = writeln!(out, "derived      {some} of {all} gradients ({how}), all forward values, {} bits", v.bits);
        let _ = writeln!(out, "by           a run and scalar MPFR enclosures; no bound and no scale cell was called");
    }
    for f in v.findings.iter().take(20) {
        let _ = writeln!(out, "finding      {}", printable(f));
    }
    if v.findings.len() > 20 {
        let _ = writeln!(out, "             and {} more", v.findings.len() - 20);
    }
    print(&out)?;
    Ok(if v.answer == Answer::Consistent { Exit::Good } else { Exit::NotCertified })
}
