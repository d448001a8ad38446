//! `certify check`: gradients that anybody made, against the enclosures of the exact ones.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::cause::{self, Cause, Context, cause};
use super::compare::{Compared, index_of, with_balls};
use super::constants::{self, Constants, Reading};
use super::layers::{self, LayerCheck};
use super::tensors::{Given, GivenTensor};
use crate::certificate::canonical::digest;
use crate::certificate::policy::{source_date, waived_text};
use crate::certificate::{
    DecisionRule, Enclosure, Exact, ExactPass, Inputs, Model, NEAREST, Num, Policy, Seed, Status, Tool, correct_digits,
    judge,
};
use crate::error::{Code, Diagnostic, Diagnostics};
use crate::import::value::matches;
use crate::ir::{Array, ValueId};
use crate::num::{Ball, environment};
use crate::seed;
use crate::session::document::{self, Identity};
use crate::session::{Failure, Loaded, Progress, Request, Subject, load};
use crate::spec::exact::{PRECISION_CAP, first_precision};
use crate::spec::{self, exact};

/// Version of the schema of [`Checked`].
pub const SCHEMA: &str = "certify/check/v1";

/// What a check found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checked {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// SHA-256 of the canonical form (RFC 8785) without this field.
    pub digest: Option<String>,
    /// The worst of the gradients' verdicts, waived ones left out.
    pub verdict: Status,
    /// How verdicts came about.
    pub decision_rule: DecisionRule,
    /// Counts.
    pub summary: CheckSummary,
    /// The model.
    pub model: Model,
    /// The inputs at which its gradients were enclosed.
    pub inputs: Inputs,
    /// What was differentiated.
    pub seed: Vec<Seed>,
    /// Which numbers the exact gradients have for constants.
    pub constants: Constants,
    /// Constants that somebody may have meant otherwise than the file holds them; none unless they are asked for.
    pub readings: Vec<Reading>,
    /// What was checked.
    pub gradients: GivenFile,
    /// By what.
    pub tool: Tool,
    /// Day, only when `SOURCE_DATE_EPOCH` gives it.
    pub date: Option<String>,
    /// How the exact gradients were enclosed.
    pub exact_pass: ExactPass,
    /// One entry per parameter, in the order of the model.
    pub tensors: Vec<TensorCheck>,
    /// Activations and cotangents, in the order of their computation.
    pub layers: Vec<LayerCheck>,
    /// At which layer the error enters, where that can be told.
    pub entry: Option<String>,
    /// What is likely wrong as a whole.
    pub hints: Vec<Cause>,
    /// Keys of the file that name nothing in the model, with the likely cause.
    pub extra: Vec<Extra>,
    /// What the reader has to be warned of.
    pub warnings: Vec<String>,
}

/// Counts of verdicts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckSummary {
    /// Parameters.
    pub gradients: u64,
    /// … whose gradient is within its limit.
    pub pass: u64,
    /// … beyond it, missing or of another shape.
    pub fail: u64,
    /// … of which neither is known.
    pub undecided: u64,
    /// … that are missing (counted under `fail` too).
    pub missing: u64,
    /// … that don't pass, and that a waiver speaks of.
    pub waived: u64,
}

/// The file that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GivenFile {
    /// Last component of its name.
    pub file: String,
    /// SHA-256.
    pub sha256: String,
    /// Tensors in it.
    pub tensors: u64,
}

/// A key that names nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extra {
    /// The key.
    pub name: String,
    /// What it may be.
    pub cause: String,
}

/// One gradient.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorCheck {
    /// The parameter.
    pub name: String,
    /// Its layer.
    pub layer: String,
    /// Operator of the ONNX node that reads it.
    pub op: String,
    /// Name of that node.
    pub node: String,
    /// Sizes of its axes.
    pub shape: Vec<u64>,
    /// The key in the file; `None` when it is missing.
    pub given_as: Option<String>,
    /// Sizes in the file.
    pub given_shape: Option<Vec<u64>>,
    /// Element type in the file.
    pub dtype: Option<String>,
    /// Encloses ‖g‖∞.
    pub spec_norm: Enclosure,
    /// Encloses the largest |given − exact|; `None` when there is nothing to compare.
    pub observed: Option<Enclosure>,
    /// `observed` in units of ‖g‖∞, rounded outward; `None` where ‖g‖∞ may be 0.
    pub observed_rel: Option<Enclosure>,
    /// Correct decimal digits.
    pub correct_digits: Num,
    /// Largest error allowed.
    pub limit: Num,
    /// Pass, fail or undecided.
    pub verdict: Status,
    /// Why a failure is accepted, and until when.
    pub waiver: Option<String>,
    /// The entry with the largest error; `None` when it isn't finite or there is none.
    pub worst: Option<WorstGiven>,
    /// Likely causes of a failure, and remarks.
    pub causes: Vec<Cause>,
}

/// The entry of a tensor whose error is largest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorstGiven {
    /// Where it stands, one index per axis.
    pub index: Vec<u64>,
    /// What was given.
    pub given: Exact,
    /// Encloses the exact value.
    pub spec: Enclosure,
}

/// Checks tensors against the enclosures of a model's gradients, with constants as asked for.
///
/// # Errors
/// What stands in the way of the exact pass; a tensor that is missing or wrong is a verdict, no error.
pub fn check(
    request: &Request,
    given: &Given,
    constants: Constants,
    progress: &dyn Progress,
) -> Result<Checked, Failure> {
    environment::check().map_err(Diagnostics::from)?;
    progress.pass("import");
    let mut loaded = load(request)?;
    let readings = match constants {
        Constants::File => Vec::new(),
        Constants::Binary64 => constants::reread(&mut loaded.lowered.graph),
    };
    let graph = &loaded.lowered.graph;
    let parameters: Vec<ValueId> = graph.parameters().collect();
    if parameters.is_empty() {
        let d = Diagnostic::new(Code::Seed, "the graph has no parameters to differentiate by");
        return Err(d.help("`certify inspect MODEL` lists what counts as a parameter").into());
    }
    progress.pass("exact pass");
    let found = enclose(&loaded, given, &parameters, &request.policy);
    progress.pass("comparison");
    Ok(document(request, &loaded, given, &parameters, &found, (constants, readings)))
}

/// Encloses all values and cotangents, at a precision that decides every tensor given.
fn enclose(loaded: &Loaded, given: &Given, parameters: &[ValueId], policy: &Policy) -> (spec::Exact, Vec<u32>) {
    let graph = &loaded.lowered.graph;
    let seeds: Vec<seed::Seed> = (loaded.lowered.seeds.iter())
        .map(|(_, value, cotangent)| seed::Seed { value: *value, cotangent: cotangent.clone() })
        .collect();
    // Cotangents of inputs are computed only where they are asked for.
    let also: Vec<ValueId> =
        given.tensors.keys().filter_map(|k| layers::value_of(loaded, k)).filter(|(_, b)| *b).map(|(v, _)| v).collect();
    let wanted = graph.differentiated(&also);
    let mut attempts = Vec::new();
    let found = exact(graph, &seeds, &wanted, &[], parameters, first_precision(graph, &seeds, &wanted), |e| {
        attempts.push(e.precision);
        decided(loaded, given, e, policy)
    });
    if attempts.last() != Some(&found.precision) {
        attempts.push(found.precision);
    }
    (found, attempts)
}

/// The tensor given for a parameter, if it can be compared entry by entry.
fn comparable<'a>(given: &'a Given, name: &str, shape: &[usize]) -> Option<&'a GivenTensor> {
    given.tensors.get(name).filter(|t| t.shape == shape)
}

/// Is every verdict known, and every norm that limits are made of?
fn decided(loaded: &Loaded, given: &Given, e: &spec::Exact, policy: &Policy) -> bool {
    let graph = &loaded.lowered.graph;
    let norms: Vec<Enclosure> = e.gradients.iter().map(|(v, b)| norm(b.as_ref(), graph.shape(*v))).collect();
    let largest = norms.iter().map(|n| n.lo()).fold(0.0, f64::max);
    e.gradients.iter().zip(&norms).all(|((v, spec), n)| {
        let who = Identity::of(loaded, &Subject::leaf(&loaded.lowered, 0, *v));
        let known = n.hi() - n.lo() <= (n.hi() / 512.0).max(1e-14 * largest).max(NEAREST);
        let Some(t) = comparable(given, &who.name, graph.shape(*v)) else { return known };
        let limit = policy.limit(&[&who.name, &who.layer, &who.node], n.lo(), largest);
        known && with_balls(&t.data, spec.as_ref()).observed.is_none_or(|o| judge(o, limit) != Status::Undecided)
    })
}

fn norm(spec: Option<&Array<Ball>>, shape: &[usize]) -> Enclosure {
    let zeros = vec![0.0; shape.iter().product()];
    with_balls(&zeros, spec).norm
}

fn document(
    request: &Request,
    loaded: &Loaded,
    given: &Given,
    parameters: &[ValueId],
    (found, attempts): &(spec::Exact, Vec<u32>),
    (constants, readings): (Constants, Vec<Reading>),
) -> Checked {
    let policy = &request.policy;
    let graph = &loaded.lowered.graph;
    let zero: Vec<Vec<f64>> = parameters.iter().map(|&v| vec![0.0; graph.shape(v).iter().product()]).collect();
    // What is missing or of another shape is compared as zeros, for the norms.
    let compared: Vec<Compared> = (found.gradients.iter().zip(&zero))
        .map(|((v, spec), zero)| {
            let t = comparable(given, &graph.leaves()[v.index()].name, graph.shape(*v));
            with_balls(t.map_or(zero, |t| &t.data), spec.as_ref())
        })
        .collect();
    let largest = compared.iter().map(|c| c.norm.lo()).fold(0.0, f64::max);
    let all: Vec<(String, Vec<usize>, Vec<f64>)> = (parameters.iter().zip(&compared))
        .map(|(&v, c)| (graph.leaves()[v.index()].name.clone(), graph.shape(v).to_vec(), c.spec.clone()))
        .collect();
    let sizes = sizes(loaded);
    let mut tensors: Vec<TensorCheck> = Vec::new();
    for ((&v, c), (_, spec)) in parameters.iter().zip(&compared).zip(&found.gradients) {
        let who = Identity::of(loaded, &Subject::leaf(&loaded.lowered, 0, v));
        let limit = policy.limit(&[&who.name, &who.layer, &who.node], c.norm.lo(), largest);
        let context = Context { shape: graph.shape(v), limit, largest, others: &all, sizes: &sizes, constants };
        tensors.push(tensor(&who, given, c, spec.as_ref(), &context, policy));
    }
    let layers = layers::compare(loaded, found, given, policy);
    let (extra, called) = extra(loaded, given, &tensors, &all);
    let (mut warnings, _) = document::remarks(loaded);
    warnings.extend(warn(policy, &tensors, found.capped));
    warnings.extend(constants::remark(&readings));
    let count = |s: Status| tensors.iter().filter(|t| t.verdict == s).count() as u64;
    let open = |s: Status| tensors.iter().any(|t| t.verdict == s && t.waiver.is_none());
    let mut rule = DecisionRule {
        policy: policy.name.clone(),
        text: "a tensor passes if the upper end of its error is at most its limit T, fails if the lower end exceeds T \
               or it is missing, not finite or of another shape, and is undecided otherwise; T = max_rel · max(‖g‖∞, floor · \
               the largest ‖g‖∞ of the model), in norms of the exact gradients, lower ends, but never less than 2^-150, \
               half of the smallest binary32 number, or what the policy asks beyond that; nothing is assumed about how the tensors were made"
            .into(),
        limits: policy.rules.clone(),
        waivers: policy.waivers.clone(),
        waivers_judged_on: policy.today.clone(),
        ..DecisionRule::default()
    };
    (rule.max_rel, rule.floor) = (Num::of(policy.limits.max_rel), Num::of(policy.limits.floor));
    rule.largest_norm = Num::of(largest);
    let mut checked = Checked {
        schema: SCHEMA.into(),
        digest: None,
        verdict: match (open(Status::Fail), open(Status::Undecided)) {
            (true, _) => Status::Fail,
            (_, true) => Status::Undecided,
            _ => Status::Pass,
        },
        decision_rule: rule,
        summary: CheckSummary {
            gradients: tensors.len() as u64,
            pass: count(Status::Pass),
            fail: count(Status::Fail),
            undecided: count(Status::Undecided),
            missing: tensors.iter().filter(|t| t.given_as.is_none()).count() as u64,
            waived: tensors.iter().filter(|t| t.waiver.is_some()).count() as u64,
        },
        model: document::model(loaded),
        inputs: document::inputs(loaded),
        seed: document::seeds(request, loaded),
        constants,
        readings,
        gradients: GivenFile {
            file: given.file.clone(),
            sha256: given.sha256.clone(),
            tensors: given.tensors.len() as u64,
        },
        tool: Tool { name: "certify".into(), version: env!("CARGO_PKG_VERSION").into() },
        date: source_date(),
        exact_pass: ExactPass {
            arithmetic: "MPFR balls (midpoint and radius)".into(),
            bits: u64::from(found.precision),
            attempts: attempts.iter().map(|&b| u64::from(b)).collect(),
            cap: u64::from(PRECISION_CAP),
            capped: found.capped,
        },
        hints: hints(&tensors, &called),
        entry: layers::entry(&layers),
        tensors,
        layers,
        extra,
        warnings,
    };
    checked.digest = Some(digest(&checked));
    checked
}

fn tensor(
    who: &Identity,
    given: &Given,
    c: &Compared,
    spec: Option<&Array<Ball>>,
    context: &Context,
    policy: &Policy,
) -> TensorCheck {
    let t = given.tensors.get(&who.name);
    let fits = t.filter(|t| t.shape == context.shape);
    let observed = fits.and(c.observed);
    let mut verdict = observed.map_or(Status::Fail, |o| judge(o, context.limit));
    let mut causes = match (t, fits) {
        (None, _) => vec![cause("missing", "the file has no tensor of this name")],
        (Some(t), None) => vec![cause::of_shape(t, context.shape, &c.spec, context.limit)],
        (_, Some(t)) if verdict != Status::Pass => cause::of_values(&who.name, t, c, context),
        (_, Some(t)) => cause::low_precision(t, c).filter(|c| c.id != "binary32").into_iter().collect(),
    };
    if verdict == Status::Undecided && causes.is_empty() {
        causes.push(cause("undecided", "the enclosure at the largest precision doesn't tell"));
    }
    if c.norm.lo() == 0.0 && fits.is_some() && !causes.iter().any(|c| c.id == "exact-zero") {
        causes.push(cause("exact-zero", "the exact gradient is 0, or can't be told from it: no digit can be right"));
    }
    if fits.is_some_and(|t| t.data.is_empty()) {
        verdict = Status::Pass;
    }
    let names = [&*who.name, &who.layer, &who.node];
    let rel = |o: Enclosure| {
        let hi = (o.hi() / c.norm.lo()).next_up();
        Enclosure::new((o.lo() / c.norm.hi()).next_down().max(0.0), hi)
    };
    let at = c.worst;
    let worst = observed.zip(fits).filter(|(_, t)| !t.data.is_empty()).map(|(_, t)| {
        let s = spec.map_or(crate::num::Interval::ZERO, |b| b.data[at].interval());
        WorstGiven {
            index: index_of(at, context.shape),
            given: Exact(Num::of(t.data[at])),
            spec: Enclosure::of(s.lo.max(-f64::MAX), s.hi.min(f64::MAX)),
        }
    });
    let wide = |s: &[usize]| s.iter().map(|&n| n as u64).collect::<Vec<u64>>();
    TensorCheck {
        name: who.name.clone(),
        layer: who.layer.clone(),
        op: who.op.clone(),
        node: who.node.clone(),
        shape: wide(context.shape),
        given_as: t.map(|t| t.given_as.clone()),
        given_shape: t.map(|t| wide(&t.shape)),
        dtype: t.map(|t| t.dtype.to_string()),
        spec_norm: c.norm,
        observed,
        observed_rel: observed.filter(|_| c.norm.lo() > 0.0).and_then(rel),
        correct_digits: Num::of(observed.map_or(0.0, |o| correct_digits(o, c.norm))),
        limit: Num::of(context.limit),
        verdict,
        waiver: policy.waiver(&names).filter(|_| verdict != Status::Pass).map(waived_text),
        worst,
        causes,
    }
}

/// Sizes that a wrong factor may stem from: leading sizes of the inputs, and their products.
fn sizes(loaded: &Loaded) -> Vec<(String, usize)> {
    let mut found: BTreeMap<usize, String> = BTreeMap::new();
    let shapes: Vec<(&str, &[usize])> =
        loaded.inputs.values.iter().map(|(n, t)| (n.as_str(), t.shape.as_slice())).collect();
    for (name, shape) in &shapes {
        if let Some(&n) = shape.first() {
            found.entry(n).or_insert_with(|| "the batch size".into());
        }
        let entries = shape.iter().product();
        found.entry(entries).or_insert_with(|| format!("the number of entries of \"{name}\""));
    }
    let graph = &loaded.lowered.graph;
    // What the loss reads: its mean may go over all entries.
    for (_, v, _) in &loaded.lowered.seeds {
        let mut at = *v;
        for _ in 0..4 {
            let Some(&o) = graph.node(at).and_then(|n| n.operands.first()) else { break };
            let entries = graph.shape(o).iter().product();
            found.entry(entries).or_insert_with(|| format!("the number of entries of \"{}\"", graph.name(o)));
            at = o;
        }
    }
    // The batch size first, then what is smallest.
    let mut all: Vec<(String, usize)> = found.into_iter().map(|(n, what)| (what, n)).collect();
    all.sort_by_key(|(what, n)| (what != "the batch size", *n));
    all
}

/// Keys that name nothing in the model; and which of them are missing parameters: key, parameter.
fn extra(
    loaded: &Loaded,
    given: &Given,
    tensors: &[TensorCheck],
    all: &[(String, Vec<usize>, Vec<f64>)],
) -> (Vec<Extra>, Vec<(String, String)>) {
    let missing = |name: &str| tensors.iter().any(|t| t.name == name && t.given_as.is_none());
    let (mut found, mut called_so) = (Vec::new(), Vec::new());
    for (name, t) in &given.tensors {
        if tensors.iter().any(|p| p.name == *name) || layers::value_of(loaded, name).is_some() {
            continue;
        }
        let close = |spec: &[f64]| {
            let norm = spec.iter().fold(0.0f64, |m, x| m.max(x.abs()));
            norm > 0.0 && t.data.iter().zip(spec).all(|(x, s)| (x - s).abs() <= norm / 32.0)
        };
        let like = |(p, shape, spec): &&(String, Vec<usize>, Vec<f64>)| missing(p) && *shape == t.shape && close(spec);
        let called = |(p, ..): &&(String, Vec<usize>, Vec<f64>)| {
            missing(p) && (p.ends_with(name.as_str()) || name.ends_with(p.as_str()) || matches(&format!("{p}*"), name))
        };
        let (like, called) = (all.iter().find(like), all.iter().find(called));
        called_so.extend(like.or(called).map(|(p, ..)| (t.given_as.clone(), p.clone())));
        let cause = match (like, called) {
            (Some((p, ..)), _) => {
                format!("its entries are those of \"{p}\", which is missing: --rename '{}={p}'", t.given_as)
            }
            (_, Some((p, ..))) => format!("called like \"{p}\", which is missing: --rename '{}={p}'", t.given_as),
            _ => "no parameter and no value of the graph has this name (a buffer, or frozen?)".into(),
        };
        found.push(Extra { name: name.clone(), cause });
    }
    (found, called_so)
}

/// One `--rename` for all pairs of a key and the parameter that it is: they differ in how they begin.
fn rename(called: &[(String, String)]) -> Option<String> {
    let begin = |(key, parameter): &(String, String)| {
        let same = key.chars().rev().zip(parameter.chars().rev()).take_while(|(a, b)| a == b);
        let same: usize = same.map(|(c, _)| c.len_utf8()).sum();
        // up to where a whole part of the name begins
        let tail = &parameter[parameter.len() - same..];
        let tail = if same == parameter.len() || same == key.len() { tail } else { &tail[tail.find(['.', '/'])?..] };
        Some((key.strip_suffix(tail)?.to_string(), parameter.strip_suffix(tail)?.to_string()))
    };
    let (from, to) = begin(called.first()?)?;
    let plain = |s: &str| !s.contains(['*', '?', '\'', '=']);
    let all = called.len() > 1
        && plain(&from)
        && plain(&to)
        && called
            .iter()
            .all(|(k, p)| k.strip_prefix(from.as_str()).is_some_and(|rest| p.strip_prefix(to.as_str()) == Some(rest)));
    all.then(|| format!("--rename '{from}*={to}*'"))
}

/// What is wrong with all tensors alike.
fn hints(tensors: &[TensorCheck], called: &[(String, String)]) -> Vec<Cause> {
    // Where the exact gradient is 0 nothing shows.
    let telling: Vec<&TensorCheck> = tensors.iter().filter(|t| t.spec_norm.lo() > 0.0).collect();
    let failed: Vec<&&TensorCheck> = telling.iter().filter(|t| t.verdict == Status::Fail).collect();
    let mut found = Vec::new();
    if failed.is_empty() || failed.len() * 10 < telling.len() * 9 || telling.len() < 2 {
        return found;
    }
    if failed.iter().all(|t| t.given_as.is_none()) {
        let how = rename(called).map_or_else(|| "see --rename".into(), |r| format!("try {r}"));
        found.push(cause("names", format!("every gradient is missing: the names differ ({how})")));
        return found;
    }
    let text = |id: &str| {
        let first = failed.iter().find_map(|t| t.causes.iter().find(|c| c.id == id))?;
        let same = failed.iter().filter(|t| t.causes.iter().any(|c| c.id == id && c.text == first.text)).count();
        (same * 10 >= failed.len() * 9).then(|| first.text.clone())
    };
    if let Some(t) = text("factor") {
        found.push(cause("reduction", format!("all gradients alike are {t}: the loss is reduced in another way")));
    } else if text("sign").is_some() {
        found.push(cause("sign", "all gradients have the sign flipped: a loss was negated, or updates were saved"));
    } else if failed.iter().all(|t| t.causes.iter().all(|c| c.id == "entries" || c.id == "exact-zero")) {
        found.push(cause(
            "other-step",
            "all gradients are off without a pattern: other inputs (a stale batch), other weights, another mode (evaluation in place of training), or another loss",
        ));
    }
    found
}

fn warn(policy: &Policy, tensors: &[TensorCheck], capped: bool) -> Vec<String> {
    let mut found = policy.outdated();
    let names = |t: &TensorCheck| [t.name.clone(), t.layer.clone(), t.node.clone()];
    let asks_bounds = |t: &TensorCheck| {
        let n = names(t);
        let a = policy.asked(&[&n[0], &n[1], &n[2]]);
        a.max_undecided_gates.is_some() || a.forbid_vacuous.is_some() || a.require_rung.is_some()
    };
    if tensors.iter().any(asks_bounds) {
        found.push("what the policy asks of bounds and gates is judged by `certify MODEL --policy`, not here".into());
    }
    if capped {
        found.push(format!("the exact pass reached its cap of {PRECISION_CAP} bits before all was decided"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::rename;

    #[test]
    fn one_pattern_renames_what_differs_in_its_beginning() {
        let of = |pairs: &[(&str, &str)]| {
            rename(&pairs.iter().map(|(k, p)| ((*k).to_string(), (*p).to_string())).collect::<Vec<_>>())
        };
        let is = |r: &str| Some(format!("--rename '{r}'"));
        assert_eq!(of(&[("module.a.weight", "a.weight"), ("module.a.bias", "a.bias")]), is("module.*=*"));
        assert_eq!(of(&[("a.weight", "net.a.weight"), ("b.bias", "net.b.bias")]), is("*=net.*"));
        assert_eq!(of(&[("old.1.weight", "net.1.weight"), ("old.2.bias", "net.2.bias")]), is("old*=net*"));
        assert_eq!(of(&[("old.1.weight", "net.1.weight"), ("other.2.bias", "net.2.bias")]), None);
        assert_eq!(of(&[("a", "b"), ("c", "d")]), None);
        // é and ĩ end in the same byte, and are different letters
        assert_eq!(of(&[("x.é", "y.ĩ"), ("x.é", "y.ĩ")]), None);
    }
}
