//! `certify MODEL --each`, and `certify merge`.

use std::fmt::Write as _;

use super::args::{Certify, ExtraArgs, Merge};
use super::files::{identity, on_stdout, place, standard};
use super::progress::Spinner;
use super::{Exit, prepare, print, request, results, say};
use crate::certificate::{ModelVerdict, Num, decimal};
use crate::error::{Code, Diagnostic, Diagnostics, printable};
use crate::gate::samples::{self, SampleSet};
use crate::session::Failure;

/// Certifies samples one by one.
pub(super) fn run(args: &Certify) -> Result<Exit, Failure> {
    let places: Vec<_> = args.certificate.as_deref().map(|p| ("--certificate", standard(p))).into_iter().collect();
    results::check(&places, &args.graph)?;
    prepare(&args.run)?;
    let request = request::of(&args.graph, ExtraArgs::default(), args.policy.as_deref())?;
    let Some(path) = &args.graph.inputs else {
        return Err(Diagnostic::new(Code::Usage, "--each needs --inputs").into());
    };
    let batch = args.batch.map(|b| usize::try_from(b).unwrap_or(usize::MAX));
    let spinner = Spinner::new(&args.run);
    let set = samples::certify(&request, path, batch, args.shard, &spinner)?;
    drop(spinner);
    finish(&set, places.into_iter().map(|(_, p)| p).next(), args.canonical)
}

/// Puts shards together.
pub(super) fn merge(args: &Merge) -> Result<Exit, Failure> {
    let to = standard(&args.certificate);
    place(&to)?;
    let mut problems = Diagnostics::default();
    let mut shards = Vec::new();
    for path in &args.shards {
        let file = path.display().to_string();
        if identity(path) == identity(&to) {
            problems.push(Diagnostic::new(Code::Usage, "--certificate would overwrite a shard").file(&file));
        }
        let read = crate::limits::read_to_string(path)
            .map_err(|e| Diagnostic::new(Code::Io, format!("the shard can't be read: {e}")).file(&file));
        match read.and_then(|text| SampleSet::from_json(&text, &file)) {
            Ok(set) => shards.push((file, set)),
            Err(d) => problems.push(d),
        }
    }
    problems.into_result(())?;
    finish(&samples::merge(shards)?, Some(to), false)
}

fn finish(set: &SampleSet, to: Option<std::path::PathBuf>, canonical: bool) -> Result<Exit, Failure> {
    let files: Vec<_> = to.into_iter().map(|p| (p, results::document(set, canonical))).collect();
    results::write(&files)?;
    let text = text(set);
    if on_stdout(&files) {
        say(&text)
    } else {
        print(&text)?
    }
    Ok(if set.verdict == ModelVerdict::Certified { Exit::Good } else { Exit::NotCertified })
}

/// Gradients that are listed.
const LISTED: usize = 30;

fn text(set: &SampleSet) -> String {
    let verdict = match set.verdict {
        ModelVerdict::Certified => "certified",
        ModelVerdict::NotCertified => "not certified",
        ModelVerdict::Undecided => "undecided",
    };
    let mut out = format!("verdict      {verdict}: {}\n", printable(&set.model.file));
    let shard = set.shard.map_or_else(String::new, |s| format!(" (shard {}/{})", s.index, s.of));
    let _ = writeln!(out, "samples      {} of {}{shard}", set.samples.len(), set.total);
    for l in set.layers.iter().take(LISTED) {
        let at = |v: &[Num], i: usize| v.get(i).map_or(0.0, |x| x.get());
        let _ = writeln!(
            out,
            "gradient     \"{}\": {} pass, {} fail, {} undecided; digits {} to {}, median {}; largest error {} (sample {})",
            printable(&l.name),
            l.pass,
            l.fail,
            l.undecided,
            at(&l.correct_digits, 0),
            at(&l.correct_digits, 4),
            at(&l.correct_digits, 2),
            decimal::up(at(&l.observed, 4), 3),
            l.worst_sample
        );
    }
    if set.layers.len() > LISTED {
        let _ = writeln!(out, "             and {} more", set.layers.len() - LISTED);
    }
    out
}
