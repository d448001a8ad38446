//! `certify MODEL`: the certificate, its report and its files.

use super::args::Certify;
use super::files::Files;
use super::progress::Spinner;
use super::{Exit, prepare, print, request, results, say, summary};
use crate::certificate::ModelVerdict;
use crate::data::npz;
use crate::error::printable;
use crate::gate::outputs::Findings;
use crate::report;
use crate::session::{self, Failure};

pub(super) fn run(args: &Certify) -> Result<Exit, Failure> {
    let mut files = Files::new(args)?;
    prepare(&args.run)?;
    let mut request = request::of(&args.graph, args.extras, args.policy.as_deref())?;
    request.resume.clone_from(&args.resume);
    let spinner = Spinner::new(&args.run);
    let outcome = session::certify(&request, &spinner)?;
    let certificate = &outcome.certificate;
    // Everything is made before anything is written.
    if args.report.is_some() {
        files.report(report::render(certificate).into_bytes());
    }
    if args.certificate.is_some() {
        files.certificate(results::document(certificate, args.canonical));
    }
    files.others(args.results.contents(&Findings::from(certificate)));
    for (name, arrays) in &outcome.dump {
        if args.dump.is_some() {
            files.dump(name, npz::write(arrays)?);
        }
    }
    drop(spinner);
    let text = summary::of(certificate, &files.places());
    files.write()?;
    if let Some(path) = &args.resume {
        // done: nobody will go on from here
        let _ = std::fs::remove_file(path);
    }
    if !args.run.quiet {
        for w in &certificate.warnings {
            say(&format!("warning: {}\n", printable(w)));
        }
    }
    // A document that was sent to standard output stays alone there.
    if files.on_stdout() {
        say(&text)
    } else {
        print(&text)?
    }
    Ok(match certificate.verdict {
        ModelVerdict::Certified => Exit::Good,
        ModelVerdict::NotCertified | ModelVerdict::Undecided => Exit::NotCertified,
    })
}
