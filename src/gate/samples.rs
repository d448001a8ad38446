//! Many inputs: samples certified one by one, in shards if wanted, with worst case and distribution per
//! layer.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::certificate::canonical::digest;
use crate::certificate::{
    Certificate, Covers, DecisionRule, Enclosure, Model, ModelVerdict, Num, Status, Summary, Tool,
};
use crate::data::{Data, HostTensor, npz};
use crate::error::{Code, Diagnostic, Diagnostics};
use crate::import::model::Dim;
use crate::import::tensor::hex;
use crate::import::{self, Inputs, OnnxModel, Source};
use crate::session::document::base;
use crate::session::{self, Failure, InputChoice, Progress, Request};

/// Version of the schema of [`SampleSet`].
pub const SCHEMA: &str = "certify/samples/v1";

/// Certificates of many samples, in short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleSet {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// SHA-256 of the canonical form (RFC 8785) without this field.
    pub digest: Option<String>,
    /// The worst of the samples' verdicts.
    pub verdict: ModelVerdict,
    /// How verdicts come about; `largest_norm` is that of all samples.
    pub decision_rule: DecisionRule,
    /// The model.
    pub model: Model,
    /// Last component of the name of the archive or directory.
    pub file: String,
    /// By what.
    pub tool: Tool,
    /// Samples there are.
    pub total: u64,
    /// Which of them stand here; `None` is all.
    pub shard: Option<Shard>,
    /// In order.
    pub samples: Vec<Sample>,
    /// Worst case and distribution per gradient, in the order of the model.
    pub layers: Vec<LayerStatistics>,
}

/// A part of the samples: those whose index, modulo `of`, is `index` − 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shard {
    /// From 1.
    pub index: u64,
    /// Number of parts.
    pub of: u64,
}

/// One sample's result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// Its place, from 0.
    pub index: u64,
    /// Its file, or the entries of the archive's first axis.
    pub name: String,
    /// SHA-256 of its inputs.
    pub inputs_sha256: String,
    /// Its verdict.
    pub verdict: ModelVerdict,
    /// Its counts.
    pub summary: Summary,
    /// Bits that the exact pass needed.
    pub bits: u64,
    /// Its gradients.
    pub gradients: Vec<SampleGradient>,
}

/// One gradient of one sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleGradient {
    /// The parameter.
    pub name: String,
    /// Its layer.
    pub layer: String,
    /// Encloses ‖g‖∞.
    pub spec_norm: Enclosure,
    /// Encloses the largest |runtime − spec|.
    pub observed: Enclosure,
    /// Largest error allowed.
    pub limit: Num,
    /// `observed.hi` ÷ `limit`, rounded up; `None` where `limit` is 0.
    pub margin: Option<Num>,
    /// Correct digits.
    pub correct_digits: Num,
    /// Pass, fail or undecided.
    pub verdict: Status,
    /// The tightest rigorous tolerance for other runtimes; `None` where there is none.
    pub atol: Option<Num>,
}

/// One gradient over all samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerStatistics {
    /// The parameter.
    pub name: String,
    /// Its layer.
    pub layer: String,
    /// Samples in which it passes.
    pub pass: u64,
    /// … fails.
    pub fail: u64,
    /// … is undecided.
    pub undecided: u64,
    /// Index of the sample that comes closest to its limit, or exceeds it most.
    pub worst_sample: u64,
    /// Correct digits: smallest, lower quartile, median, upper quartile, largest.
    pub correct_digits: Vec<Num>,
    /// `observed.hi`: smallest, lower quartile, median, upper quartile, largest.
    pub observed: Vec<Num>,
    /// A tolerance for other runtimes on all samples; `None` where one has none.
    pub atol: Option<Num>,
}

impl SampleSet {
    /// The document: pretty-printed JSON with a final newline.
    pub fn to_json(&self) -> String {
        let mut s = serde_json::to_string_pretty(self).expect("a document is always serialisable");
        s.push('\n');
        s
    }

    /// Reads a document back; `file` is how messages call it.
    ///
    /// # Errors
    /// E002 when it isn't one, or was changed after it was sealed.
    pub fn from_json(text: &str, file: &str) -> Result<SampleSet, Diagnostic> {
        let bad = |what: String| Diagnostic::new(Code::Malformed, what).file(file);
        let not = |e| {
            bad(format!("no certificate of samples: {e}")).help("`certify MODEL --each` with --certificate writes them")
        };
        let value: serde_json::Value = serde_json::from_str(text).map_err(not)?;
        if value["schema"] != SCHEMA {
            let what = format!("the schema is {}, and \"{SCHEMA}\" is read here", value["schema"]);
            return Err(bad(what).help("`certify MODEL --each` with --certificate writes such documents"));
        }
        let set: SampleSet = serde_json::from_str(text).map_err(not)?;
        if set.digest.as_deref() != Some(&digest(&set)) {
            return Err(bad("the digest isn't that of the contents".into()).help("it was changed after it was written"));
        }
        Ok(set)
    }

    /// Puts together what follows from the samples.
    fn finish(mut self) -> SampleSet {
        self.samples.sort_by_key(|s| s.index);
        let has = |v| self.samples.iter().any(|s| s.verdict == v);
        self.verdict = if has(ModelVerdict::NotCertified) {
            ModelVerdict::NotCertified
        } else if has(ModelVerdict::Undecided) || self.samples.is_empty() {
            ModelVerdict::Undecided
        } else {
            ModelVerdict::Certified
        };
        let norms = self.samples.iter().flat_map(|s| &s.gradients).map(|g| g.spec_norm.lo());
        self.decision_rule.largest_norm = Num::of(norms.fold(0.0, f64::max));
        let parameters = self.samples.first().map_or(0, |s| s.gradients.len());
        self.layers = (0..parameters).map(|k| statistics(&self.samples, k)).collect();
        self.digest = Some(digest(&self));
        self
    }
}

/// Smallest, quartiles and largest: of n sorted values the ones at ⌊q·(n − 1)⌋, so that each is a value
/// that occurred.
fn quartiles(mut values: Vec<f64>) -> Vec<Num> {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    (0..5).filter_map(|q| values.get(q * last / 4)).map(|&x| Num::of(x)).collect()
}

fn statistics(samples: &[Sample], k: usize) -> LayerStatistics {
    let all: Vec<(u64, &SampleGradient)> = samples.iter().map(|s| (s.index, &s.gradients[k])).collect();
    let count = |v: Status| all.iter().filter(|(_, g)| g.verdict == v).count() as u64;
    let badness = |g: &SampleGradient| match g.margin {
        Some(m) => m.get(),
        None if g.observed.hi() > 0.0 => f64::INFINITY,
        None => 0.0,
    };
    // the first of equals
    let worst = all.iter().rev().max_by(|a, b| badness(a.1).total_cmp(&badness(b.1)));
    let tolerances: Option<Vec<f64>> = all.iter().map(|(_, g)| g.atol.map(Num::get)).collect();
    LayerStatistics {
        name: all[0].1.name.clone(),
        layer: all[0].1.layer.clone(),
        pass: count(Status::Pass),
        fail: count(Status::Fail),
        undecided: count(Status::Undecided),
        worst_sample: worst.map_or(0, |w| w.0),
        correct_digits: quartiles(all.iter().map(|(_, g)| g.correct_digits.get()).collect()),
        observed: quartiles(all.iter().map(|(_, g)| g.observed.hi()).collect()),
        atol: tolerances.and_then(|t| Num::new(t.into_iter().fold(0.0, f64::max))),
    }
}

fn in_short(index: usize, name: &str, c: &Certificate) -> Sample {
    let one = |g: &crate::certificate::Gradient| SampleGradient {
        name: g.name.clone(),
        layer: g.layer.clone(),
        spec_norm: g.spec_norm,
        observed: g.observed,
        limit: g.limit,
        margin: g.margin,
        correct_digits: g.correct_digits,
        verdict: g.verdict,
        atol: g.tolerance.atol.filter(|_| g.tolerance.covers == Some(Covers::EveryConformingRun)),
    };
    Sample {
        index: index as u64,
        name: name.into(),
        inputs_sha256: c.inputs.sha256.clone(),
        verdict: c.verdict,
        summary: c.summary,
        bits: c.exact_pass.bits,
        gradients: c.gradients.iter().map(one).collect(),
    }
}

/// Certifies the samples at `path` one by one; `shard` is (I, N), I from 1.
///
/// # Errors
/// What stands in the way of one of them.
pub fn certify(
    request: &Request,
    path: &Path,
    batch: Option<usize>,
    shard: Option<(usize, usize)>,
    progress: &dyn Progress,
) -> Result<SampleSet, Failure> {
    let model = import::read(&request.model)?;
    let all = samples(path, &model, batch)?;
    let total = all.len();
    let mut set: Option<SampleSet> = None;
    let mine = |k: usize| shard.is_none_or(|(i, n)| k % n == i - 1);
    for (k, (name, inputs)) in all.into_iter().enumerate().filter(|(k, _)| mine(*k)) {
        let one = Request { inputs: InputChoice::Given(inputs), ..request.clone() };
        let c = session::certify(&one, progress)?.certificate;
        let set = set.get_or_insert_with(|| SampleSet {
            schema: SCHEMA.into(),
            digest: None,
            verdict: ModelVerdict::Undecided,
            decision_rule: c.decision_rule.clone(),
            model: c.model.clone(),
            file: base(&path.display().to_string()),
            tool: c.tool.clone(),
            total: total as u64,
            shard: shard.map(|(i, n)| Shard { index: i as u64, of: n as u64 }),
            samples: Vec::new(),
            layers: Vec::new(),
        });
        set.samples.push(in_short(k, &name, &c));
    }
    let file = path.display().to_string();
    let empty = || match shard {
        Some((i, n)) => Diagnostic::new(Code::Usage, format!("shard {i}/{n} of {total} samples is empty"))
            .file(&file)
            .help("ask for no more shards than there are samples"),
        None => Diagnostic::new(Code::Input, "there is no sample in it").file(&file),
    };
    Ok(set.ok_or_else(empty)?.finish())
}

/// Puts shards together: the result is what certifying all samples at once would have written.
///
/// # Errors
/// Shards of different sets, samples that are missing or stand twice.
pub fn merge(shards: Vec<(String, SampleSet)>) -> Result<SampleSet, Diagnostics> {
    let mut problems = Diagnostics::default();
    let mut shards = shards.into_iter();
    let Some((first_file, mut whole)) = shards.next() else {
        return Err(Diagnostic::new(Code::Usage, "there is nothing to merge").into());
    };
    for (file, s) in shards {
        let same = [
            ("model", s.model == whole.model),
            ("set of samples", s.file == whole.file && s.total == whole.total),
            ("policy", policy(&s.decision_rule) == policy(&whole.decision_rule)),
            ("version of certify", s.tool == whole.tool),
        ];
        for (what, _) in same.iter().filter(|(_, same)| !same) {
            let text = format!("another {what} than in \"{first_file}\"");
            problems.push(Diagnostic::new(Code::Input, text).file(&file));
        }
        for x in s.samples {
            if whole.samples.iter().any(|w| w.index == x.index) {
                problems
                    .push(Diagnostic::new(Code::Input, format!("sample {} stands in two shards", x.index)).file(&file));
            } else {
                whole.samples.push(x);
            }
        }
    }
    let missing: Vec<u64> = (0..whole.total).filter(|i| !whole.samples.iter().any(|s| s.index == *i)).collect();
    if !missing.is_empty() {
        let what =
            format!("{} of {} samples are missing, the first is sample {}", missing.len(), whole.total, missing[0]);
        problems.push(Diagnostic::new(Code::Input, what).help("name every shard, and run those that failed again"));
    }
    whole.shard = None;
    problems.into_result(()).map(|()| whole.finish())
}

/// What shards of one set have in common of their rule.
fn policy(r: &DecisionRule) -> DecisionRule {
    DecisionRule { largest_norm: Num::ZERO, ..r.clone() }
}

/// The samples at a path, in order, with names. An archive is cut into `batch` entries a sample (1 unless given)
/// where the model leaves the size open.
///
/// # Errors
/// What can't be read, or doesn't fit the model.
pub fn samples(path: &Path, model: &OnnxModel, batch: Option<usize>) -> Result<Vec<(String, Inputs)>, Diagnostics> {
    if !path.is_dir() {
        return archive(path, model, batch);
    }
    if batch.is_some() {
        let what = "--batch cuts up an archive, and --inputs is a directory";
        let d = Diagnostic::new(Code::Usage, what).file(path.display().to_string());
        return Err(d.help("each archive in the directory is a sample: leave --batch out").into());
    }
    folder(path, model)
}

/// A directory: every archive in it, and every directory of ONNX tensors, is a sample.
fn folder(path: &Path, model: &OnnxModel) -> Result<Vec<(String, Inputs)>, Diagnostics> {
    let file = path.display().to_string();
    let read = std::fs::read_dir(path)
        .map_err(|e| Diagnostic::new(Code::Io, format!("the samples can't be read: {e}")).file(&file))?;
    let mut entries: Vec<_> = read
        .filter_map(|e| e.ok().map(|e| e.path()))
        .filter(|p| p.extension().is_some_and(|e| e == "npz") || p.join("input_0.pb").is_file())
        .collect();
    entries.sort();
    let mut problems = Diagnostics::default();
    let mut all = Vec::new();
    for p in entries {
        match Inputs::read(&p, model) {
            Ok(i) => all.push((base(&p.display().to_string()), i)),
            Err(d) => problems.0.extend(d.0),
        }
    }
    problems.into_result(all)
}

/// One archive: the first axis of its arrays is cut into blocks of the size that the model states, or of
/// `batch`. An array with a single block belongs to every sample.
fn archive(path: &Path, model: &OnnxModel, batch: Option<usize>) -> Result<Vec<(String, Inputs)>, Diagnostics> {
    let file = path.display().to_string();
    let bytes = crate::limits::read(path)
        .map_err(|e| Diagnostic::new(Code::Io, format!("the inputs can't be read: {e}")).file(&file))?;
    let arrays = npz::read(&bytes, &file)?;
    let mut problems = Diagnostics::default();
    let (mut blocks, mut open) = (Vec::new(), false);
    for (name, t) in &arrays {
        let dims = model.graph.inputs.iter().find(|i| i.name == *name).and_then(|i| i.dims.as_ref());
        let stated = dims.and_then(|d| d.first()).and_then(|d| if let Dim::Size(n) = d { Some(*n) } else { None });
        let size = stated.or(batch).unwrap_or(1);
        open |= stated.is_none();
        let scalar = dims.is_some_and(Vec::is_empty) || t.shape.is_empty();
        let length = t.shape.first().copied().unwrap_or(1);
        if scalar {
            blocks.push((1, 1));
        } else if size == 0 || length == 0 || length % size != 0 {
            let what =
                format!("input \"{name}\" has {length} entries on its first axis, a multiple of {size} is required");
            problems.push(Diagnostic::new(Code::Input, what).file(&file));
        } else {
            blocks.push((length / size, size));
        }
    }
    if let Some(b) = batch
        && !open
    {
        let what = format!("--batch {b}: the model leaves no first axis open");
        let help = "leave --batch out, or export the model with a dynamic batch size";
        problems.push(Diagnostic::new(Code::Usage, what).file(&file).help(help));
    }
    let n = blocks.iter().map(|b| b.0).max().unwrap_or(0);
    for ((name, _), (k, _)) in arrays.iter().zip(&blocks).filter(|(_, b)| b.0 != 1 && b.0 != n) {
        let what = format!("input \"{name}\" has {k} samples where another has {n}");
        problems.push(Diagnostic::new(Code::Input, what).file(&file));
    }
    problems.into_result(())?;
    let mut all = Vec::new();
    for k in 0..n {
        let cut = |((name, t), (many, size)): (&(String, HostTensor), &(usize, usize))| {
            (name.clone(), if *many == 1 { t.clone() } else { block(t, k * size, *size) })
        };
        let one: Vec<(String, HostTensor)> = arrays.iter().zip(&blocks).map(cut).collect();
        let sha256 = hex(&Sha256::digest(npz::write(&one)?));
        all.push((format!("{}[{k}]", base(&file)), Inputs::check(one, model, Source::Archive(file.clone()), sha256)?));
    }
    Ok(all)
}

/// Entries from..from+size of the first axis.
fn block(t: &HostTensor, from: usize, size: usize) -> HostTensor {
    let row: usize = t.shape[1..].iter().product();
    let range = from * row..(from + size) * row;
    let data = match &t.data {
        Data::F32(v) => Data::F32(v[range].to_vec()),
        Data::F64(v) => Data::F64(v[range].to_vec()),
        Data::Int(v) => Data::Int(v[range].to_vec()),
        Data::Bool(v) => Data::Bool(v[range].to_vec()),
        Data::Opaque => Data::Opaque,
    };
    let mut shape = t.shape.clone();
    shape[0] = size;
    HostTensor { dtype: t.dtype, shape, data }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_are_values_that_occurred() {
        let of = |v: &[f64]| quartiles(v.to_vec()).into_iter().map(Num::get).collect::<Vec<_>>();
        assert_eq!(of(&[3.0, 1.0, 2.0, 5.0, 4.0]), [1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(of(&[7.0]), [7.0; 5]);
        assert_eq!(of(&[2.0, 1.0]), [1.0, 1.0, 1.0, 1.0, 2.0]);
    }

    #[test]
    fn blocks_are_rows_of_the_first_axis() {
        let t = HostTensor::i64(vec![4, 2], (0..8).collect());
        assert_eq!(block(&t, 2, 2), HostTensor::i64(vec![2, 2], vec![4, 5, 6, 7]));
    }
}
