//! The certificate, field by field. `docs/certificate.md` says the same for readers of the JSON.
//!
//! Units: gradients, errors, bounds, limits and scales of a tensor are absolute, in the unit of that
//! tensor's entries, unless a field says "in units of ‖g‖∞", which is the largest magnitude of an
//! entry of the tensor's *exact* gradient. Upper bounds are rounded up, lower bounds down.

use serde::{Deserialize, Serialize};

use super::number::{Enclosure, Exact, Num};
use super::policy::{LimitRule, Waiver};
use super::rungs::{Bounds, Covers, Rung};

/// The version of the schema that this library reads and writes.
pub const SCHEMA: &str = "certify/certificate/v1";

/// All that is claimed about one model on one set of inputs, with the figures behind it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// SHA-256 of this document without this field, in the canonical form of RFC 8785: 64 lower-case
    /// hexadecimal digits. `None` until it is sealed.
    pub digest: Option<String>,
    /// The worst of the gradients' verdicts.
    pub verdict: ModelVerdict,
    /// How verdicts come about.
    pub decision_rule: DecisionRule,
    /// How many gradients there are with each verdict.
    pub summary: Summary,
    /// What was certified.
    pub model: Model,
    /// On which inputs.
    pub inputs: Inputs,
    /// Which outputs were differentiated, and the cotangents put on them.
    pub seed: Vec<Seed>,
    /// The scalar losses among the outputs.
    pub loss: Vec<Loss>,
    /// By what.
    pub tool: Tool,
    /// Day of issue, `YYYY-MM-DD`; only when `SOURCE_DATE_EPOCH` gives it.
    pub date: Option<String>,
    /// The arithmetic that the runs are assumed to use.
    pub rounding_model: RoundingModel,
    /// How the exact values were enclosed.
    pub exact_pass: ExactPass,
    /// Size of the graph.
    pub graph: GraphSize,
    /// The region over which `region_scale` and `region_tolerance` hold; `None` unless one was asked for.
    pub region: Option<Region>,
    /// The adversarial runs that were played; `None` unless they were asked for.
    pub adversary: Option<Adversary>,
    /// Whose gradients `gradients` are.
    pub gradient_source: GradientSource,
    /// One entry per parameter that has a gradient, in the order of the model.
    pub gradients: Vec<Gradient>,
    /// Per gradient that the file computes itself: is it the derivative of the file's forward part?
    pub agreement: Vec<Agreement>,
    /// The values on the way forward, one entry per ONNX node, in execution order.
    pub forward: Vec<ForwardLayer>,
    /// The graph's outputs.
    pub outputs: Vec<Output>,
    /// All gates (Relu, MaxPool, Clip, …) of the graph.
    pub gates: Gates,
    /// What a release engineer has to tick off, answered.
    pub checklist: Vec<ChecklistItem>,
    /// Invariants, hypotheses, cross-checks and negative controls that were run on this model.
    pub checks: Vec<Check>,
    /// What the claim rests on.
    pub assumptions: Vec<Assumption>,
    /// The rules (one per primitive used), for the appendix.
    pub rules: Vec<Rule>,
    /// What the reader has to be warned of.
    pub warnings: Vec<String>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
    /// Where it ran; no host, user or path names.
    pub environment: Environment,
    /// Command lines that make this certificate again.
    pub reproduce: Vec<String>,
}

/// Verdict on a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelVerdict {
    /// Every gradient is within its limit.
    Certified,
    /// Some gradient exceeds its limit.
    NotCertified,
    /// No gradient is known to exceed its limit, but not all are known to keep it.
    Undecided,
}

/// Whose gradients are certified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GradientSource {
    /// This tool's reverse mode derives them from the graph.
    Derived,
    /// The graph computes them itself; they are analysed as the forward computation that they are.
    File,
}

/// A gradient that the file computes itself, against the one that follows from its forward part. Both
/// are exact values; this run's error is among `gradients`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agreement {
    /// Name of the parameter.
    pub parameter: String,
    /// The file's tensor.
    pub tensor: String,
    /// Encloses the largest magnitude of an exact entry of the file's tensor.
    pub stated_norm: Enclosure,
    /// Encloses the largest magnitude of an entry of the derivative.
    pub derived_norm: Enclosure,
    /// Encloses the largest |stated − derived| of an entry.
    pub difference: Enclosure,
    /// Have the two enclosures of every entry a number in common?
    pub enclosures_meet: bool,
    /// Largest difference allowed: constants that the file holds in rounded form make one.
    pub limit: Num,
    /// `pass` iff difference.hi ≤ limit, `fail` iff difference.lo > limit, else `undecided`.
    pub verdict: Status,
    /// Where they differ: the first node of the file whose result isn't the cotangent that its name says.
    pub wrong_node: Option<WrongNode>,
}

/// A node whose result isn't the cotangent that its name says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrongNode {
    /// Name of the node, as a graph viewer shows it.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// The tensor that it computes.
    pub tensor: String,
}

/// A file that the model needs beside its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    /// `external_data`, `weights`, or `masks` (drawn from `--seed-masks`, as the archive of them).
    pub role: String,
    /// Last component of the file's name.
    pub file: String,
    /// SHA-256 of the file.
    pub sha256: String,
}

/// Verdict on one tensor, and result of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Holds.
    Pass,
    /// Does not hold.
    Fail,
    /// The figures allow both.
    Undecided,
    /// There is nothing to which the question applies, or it was not asked.
    NotApplicable,
}

/// How verdicts come about (ISO/IEC 17025, ILAC-G8: uncertainty is taken into account).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecisionRule {
    /// Where the limits come from: `default`, or the name of a policy file.
    pub policy: String,
    /// The rule in words.
    pub text: String,
    /// Largest error allowed, in units of ‖g‖∞.
    pub max_rel: Num,
    /// Tensors with ‖g‖∞ below this fraction of the model's largest are judged as if they had it.
    pub floor: Num,
    /// The largest ‖g‖∞ of the model (lower end).
    pub largest_norm: Num,
    /// What a policy asks beyond that, in order: a later rule replaces what earlier ones said.
    pub limits: Vec<LimitRule>,
    /// Failures that the policy accepts for a while.
    pub waivers: Vec<Waiver>,
    /// The day on which the waivers were judged; `None` where there are none.
    pub waivers_judged_on: Option<String>,
}

/// Counts of verdicts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Gradients.
    pub gradients: u64,
    /// … within their limit.
    pub pass: u64,
    /// … beyond it.
    pub fail: u64,
    /// … of which neither is known.
    pub undecided: u64,
    /// Gradients that fail or are undecided and that a waiver speaks of: they don't count against the model.
    pub waived: u64,
    /// Gradients that carry a warning.
    pub warned: u64,
    /// The smallest number of correct digits, of the gradients above the floor.
    pub min_correct_digits: Option<Num>,
}

/// The model file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Last component of the file's name.
    pub file: String,
    /// SHA-256 of the file, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// `producer_name` and `producer_version` as the file has them; empty when it has none.
    pub producer: String,
    /// Operator sets imported.
    pub opsets: Vec<Opset>,
    /// ONNX nodes in the file.
    pub nodes: u64,
    /// Parameter tensors.
    pub parameter_tensors: u64,
    /// Entries of all parameter tensors together.
    pub parameters: u64,
    /// Files that it needs beside its own: external data, weights, recorded masks.
    pub files: Vec<ModelFile>,
}

/// One operator set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opset {
    /// Domain; empty is the default one.
    pub domain: String,
    /// Version.
    pub version: i64,
}

/// Where the inputs come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputSource {
    /// An archive given by the user.
    File,
    /// A directory given by the user.
    Directory,
    /// Pseudo-random numbers: the certificate says nothing about real data.
    Synthetic,
}

/// The inputs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inputs {
    /// Where they come from.
    pub source: InputSource,
    /// Last component of the file's or directory's name; `None` for synthetic ones.
    pub file: Option<String>,
    /// Seed of synthetic inputs, in decimal (a string: it may exceed 2^53).
    pub random_seed: Option<String>,
    /// SHA-256 of the file, or over names, shapes, types and values for a directory or synthetic ones.
    pub sha256: String,
    /// Each input tensor.
    pub tensors: Vec<TensorInfo>,
}

/// Name, shape and type of a tensor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorInfo {
    /// Name in the graph.
    pub name: String,
    /// Sizes of its axes; empty for a scalar.
    pub shape: Vec<u64>,
    /// Element type, e.g. `float32`, `int64`.
    pub dtype: String,
}

/// The cotangent put on one output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seed {
    /// Output of the graph.
    pub output: String,
    /// `1`, `ones`, or the name of the file.
    pub value: String,
    /// SHA-256 of the file.
    pub sha256: Option<String>,
}

/// A scalar output that was differentiated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loss {
    /// Output of the graph.
    pub output: String,
    /// Its value in this run.
    pub runtime: Exact,
    /// Encloses its exact value.
    pub spec: Enclosure,
}

/// The program that made the certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// `certify`.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// The arithmetic that the runs are assumed to use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoundingModel {
    /// Name of the format.
    pub format: String,
    /// Digits of its significand, in bits.
    pub precision_bits: u32,
    /// Unit roundoff 2^−p.
    pub u: Exact,
    /// Smallest subnormal.
    pub eta: Exact,
    /// Largest finite number.
    pub largest: Exact,
    /// Rounding mode.
    pub rounding: String,
    /// What happens to subnormal numbers.
    pub subnormals: String,
    /// How this run reduces, one line per kind of reduction.
    pub reductions: Vec<Reduction>,
    /// Errors of elementary functions.
    pub elementary: Vec<Elementary>,
}

/// The reduction tree of one kind of contraction or sum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reduction {
    /// What is reduced.
    pub what: String,
    /// The tree, and the formula of its height.
    pub tree: String,
    /// Are products fused with additions?
    pub fma: bool,
}

/// The error established for one elementary function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Elementary {
    /// Name, e.g. `exp`.
    pub function: String,
    /// Largest error over all arguments, in ulps of the exact result.
    pub ulps: Num,
    /// How that is known.
    pub established: String,
}

/// How the exact values were enclosed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExactPass {
    /// Arithmetic, e.g. `MPFR balls, scalar`.
    pub arithmetic: String,
    /// Precision of the last attempt, in bits.
    pub bits: u64,
    /// Precisions tried, in bits, in order.
    pub attempts: Vec<u64>,
    /// Largest precision allowed, in bits.
    pub cap: u64,
    /// Was something still undecided at the cap?
    pub capped: bool,
}

/// Size of the graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraphSize {
    /// Inputs, parameters and constants.
    pub leaves: u64,
    /// Primitives after lowering.
    pub primitive_nodes: u64,
    /// ONNX nodes that were lowered.
    pub onnx_nodes: u64,
}

/// A box around the inputs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// Every input entry may move by this much either way.
    pub radius: Num,
}

/// Conforming runs whose free choices were made to err as far as possible. They stay within the `portable`
/// rung, or nothing is certified.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adversary {
    /// How many were played.
    pub runs: u64,
    /// What their choices were drawn from.
    pub seed: String,
}

/// How far an adversary got with one gradient.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reached {
    /// The largest |run − spec| of an entry in an adversarial run, rounded down.
    pub error: Num,
    /// The `portable` bound ÷ `error`, rounded up: the bound is at most this much larger than the worst case;
    /// `None` where there is no such bound or `error` is 0.
    pub factor: Option<Num>,
}

/// A tolerance for every input of the certificate's region, between any conforming run and the spec at the
/// same input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionTolerance {
    /// No entry is further from the spec than this; `None` is unbounded.
    pub atol: Option<Num>,
    /// `atol` in hexadecimal.
    pub atol_hex: Option<String>,
    /// `atol` in units of ‖g‖∞ at the given inputs, rounded up.
    pub rtol: Option<Num>,
    /// Not below ‖g‖∞ at the given inputs: an all-zero gradient would do as well.
    pub vacuous: bool,
}

/// One parameter's gradient.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gradient {
    /// Name of the parameter.
    pub name: String,
    /// The layer it belongs to (module path, or name of the ONNX node that reads it).
    pub layer: String,
    /// Operator of the ONNX node that reads it.
    pub op: String,
    /// Name of that node, as a graph viewer shows it.
    pub node: String,
    /// Sizes of its axes.
    pub shape: Vec<u64>,
    /// Largest magnitude of an entry in this run.
    pub max_abs: Num,
    /// Encloses ‖g‖∞, the largest magnitude of an entry of the exact gradient.
    pub spec_norm: Enclosure,
    /// Encloses the largest |runtime − spec| of an entry.
    pub observed: Enclosure,
    /// `observed` in units of ‖g‖∞; `None` where ‖g‖∞ may be 0.
    pub observed_rel: Option<Enclosure>,
    /// The ladder.
    pub bounds: Bounds,
    /// No entry, of the run or of the spec, is larger than this at these inputs; `None` when unknown.
    pub scale: Option<Num>,
    /// The same over the certificate's region.
    pub region_scale: Option<Num>,
    /// The `portable` rung over the certificate's region.
    pub region_tolerance: Option<RegionTolerance>,
    /// What an adversary reached; `None` unless one was asked for.
    pub adversary: Option<Reached>,
    /// What to compare another runtime's gradient with.
    pub tolerance: Tolerance,
    /// What the tolerance and common defaults can detect.
    pub detection: Detection,
    /// −log10 of `observed_rel.hi`, rounded down to 0.1, from 0 (none) to 17 (17 or more, or exact).
    pub correct_digits: Num,
    /// Entries that this run has wrong by more than twice their exact size, such as those whose exact value is 0
    /// and the run's isn't: what they show is rounding error.
    pub lost_entries: Option<u64>,
    /// Gates between the parameter and the seed that the `portable` rung cannot decide.
    pub undecided_gates: u64,
    /// Largest error allowed.
    pub limit: Num,
    /// `observed.hi` ÷ `limit`, rounded up: up to 1 passes; `None` where `limit` is 0.
    pub margin: Option<Num>,
    /// `fail` iff observed.lo > limit or something stands under `breaches`; otherwise `pass` iff
    /// observed.hi ≤ limit, else `undecided`.
    pub verdict: Status,
    /// What the policy asks beside the limit, and isn't so.
    pub breaches: Vec<String>,
    /// Why a failure is accepted, and until when.
    pub waiver: Option<String>,
    /// What the reader has to be warned of.
    pub warnings: Vec<String>,
    /// The entry with the largest error.
    pub worst: Option<WorstEntry>,
    /// The two parts of a bound.
    pub terms: Option<Terms>,
    /// Distribution of the entries' errors.
    pub histogram: Option<Histogram>,
    /// Which roundings make up the error, largest share first; `None` is "not computed".
    pub budget: Option<Vec<Contribution>>,
}

/// The entry of a tensor whose error is largest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorstEntry {
    /// Where it stands, one index per axis.
    pub index: Vec<u64>,
    /// Its value in this run.
    pub runtime: Exact,
    /// Encloses its exact value.
    pub spec: Enclosure,
    /// Its error in ulps (binary32, at the exact value), rounded up.
    pub ulps: Num,
}

/// A bound, split: errors of operands carried through, and roundings of the last operation itself.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// Whose parts these are.
    pub rung: Rung,
    /// Carried from the operands.
    pub carried: Num,
    /// Made by the operation that yields the gradient.
    pub local: Num,
}

/// How the errors of a tensor's entries are distributed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Histogram {
    /// Unit of the edges, e.g. `ulp of ‖g‖∞`.
    pub unit: String,
    /// `edges[i]` ≤ error < `edges[i+1]`; the first bin starts at 0, the last has no end.
    pub edges: Vec<Num>,
    /// Entries per bin: one more than edges, the first below `edges[0]`.
    pub counts: Vec<u64>,
}

/// One node's share of a gradient's error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contribution {
    /// Name of the ONNX node whose roundings these are.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// `forward` or `backward`.
    pub pass: String,
    /// What its roundings add to the worst entry's error, with sign.
    pub error: Num,
    /// The same as a part of the sum of all magnitudes, 0 to 1.
    pub share: Num,
}

/// What to compare another runtime's gradient with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tolerance {
    /// Largest |run − spec| of an entry that a run covered can have.
    pub atol: Option<Num>,
    /// `atol` in hexadecimal.
    pub atol_hex: Option<String>,
    /// `atol` in units of ‖g‖∞: for the tensor as a whole, not for its entries.
    pub rtol: Option<Num>,
    /// The rung that it was taken from.
    pub rung: Option<Rung>,
    /// The runs that may be held to it.
    pub covers: Option<Covers>,
    /// Largest distance of an entry between another runtime and this run: the sum of both bounds.
    pub atol_between_runtimes: Option<Num>,
    /// Largest distance of an entry between any two conforming runtimes: twice the bound of one.
    pub atol_any_two_runtimes: Option<Num>,
    /// `eps ÷ B` of the scale pass: the relative part of the seeds' `tolFromEpsScale`; not recommended.
    pub rel_of_scale: Option<Num>,
    /// What to paste to compare a runtime with the exact gradient, in words.
    pub recommendation: String,
    /// What to paste to compare two runtimes, in words.
    pub between_runtimes: String,
}

/// The smallest corruption of a gradient that is certain to be rejected: added to this run's
/// gradient, it shows whatever the sign of the run's own error.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detection {
    /// By this certificate's limit: `limit` + `observed.hi`.
    pub limit: Num,
    /// By the defaults of others, compared with the exact gradient.
    pub defaults: Vec<DefaultDetection>,
}

/// What the default tolerance of a framework can detect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DefaultDetection {
    /// Whose default.
    pub name: String,
    /// Smallest corruption certain to be rejected.
    pub limit: Num,
    /// An all-zero gradient would be accepted.
    pub blind: bool,
}

/// The value of one ONNX node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForwardLayer {
    /// Name of the node, or of its first output.
    pub node: String,
    /// Operator.
    pub op: String,
    /// The node as the file has it.
    pub onnx: OnnxNode,
    /// Nodes (by `node`) whose values it reads, each once; inputs, parameters and constants are left out.
    pub inputs: Vec<String>,
    /// Shape of its first output.
    pub shape: Vec<u64>,
    /// Largest magnitude of an entry in this run.
    pub max_abs: Num,
    /// Encloses the largest magnitude of an entry of the exact value.
    pub spec_norm: Enclosure,
    /// Encloses the largest |runtime − spec| of an entry.
    pub observed: Enclosure,
    /// As for gradients; 0 to 17.
    pub correct_digits: Num,
    /// The ladder.
    pub bounds: Bounds,
    /// Its gates; all 0 for a smooth operator.
    pub gates: Gates,
    /// The first few undecided ones.
    pub undecided: Vec<UndecidedGate>,
}

/// What graph viewers show of an ONNX node beside its name and its operator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnnxNode {
    /// Domain of its operator; `ai.onnx` is the default one.
    pub domain: String,
    /// Version of the operator set.
    pub opset: i64,
    /// Names of the tensors that it reads, in order; empty for one left out.
    pub inputs: Vec<String>,
    /// Names of the tensors that it makes, in order; empty for one not wanted.
    pub outputs: Vec<String>,
    /// Its attributes, by name.
    pub attributes: Vec<NodeAttribute>,
}

/// An attribute of an ONNX node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeAttribute {
    /// Its name.
    pub name: String,
    /// ONNX's name of its type, e.g. `INTS`.
    pub kind: String,
    /// Its value; of long lists, texts and tensors the beginning, and how much follows.
    pub value: String,
}

/// Counts of gates: choices that an operator makes by comparing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gates {
    /// All of them.
    pub total: u64,
    /// Those that the error bound of the `portable` rung leaves undecided.
    pub undecided: u64,
    /// Those where this run chose otherwise than the spec.
    pub differing: u64,
    /// Exact ties, decided by the operator's convention.
    pub ties: u64,
    /// Those that the exact pass could not decide at its precision cap (both branches are enclosed).
    pub unresolved: u64,
}

/// One gate that an error bound leaves undecided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UndecidedGate {
    /// Where it stands, one index per axis.
    pub index: Vec<u64>,
    /// Its operand in this run.
    pub runtime: Exact,
    /// Encloses the operand's exact value.
    pub spec: Enclosure,
    /// The point at which the choice changes.
    pub kink: Num,
    /// The error bound that covers it.
    pub error: Option<Num>,
}

/// One output of the graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<u64>,
    /// Largest magnitude of an entry in this run.
    pub max_abs: Num,
    /// Encloses the largest magnitude of an entry of the exact value.
    pub spec_norm: Enclosure,
    /// Encloses the largest |runtime − spec| of an entry.
    pub observed: Enclosure,
    /// The ladder.
    pub bounds: Bounds,
}

/// One line of the release checklist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChecklistItem {
    /// Stable identifier.
    pub id: String,
    /// What is to be ticked off.
    pub text: String,
    /// The answer.
    pub status: Status,
    /// The figures behind the answer.
    pub evidence: String,
    /// The part of the report where they stand: `gradients`, `gates`, `exact-pass`, `checks`, `inputs`.
    pub section: String,
}

/// What kind of check it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckKind {
    /// A law of the graph or of the two passes.
    Invariant,
    /// A hypothesis of the rounding model, tested on this machine or on these values.
    Hypothesis,
    /// Agreement with an independent computation.
    CrossCheck,
    /// A planted defect that had to be noticed.
    NegativeControl,
}

/// One check that was run on this model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Its kind.
    pub kind: CheckKind,
    /// What was checked.
    pub name: String,
    /// Its outcome.
    pub result: Status,
    /// The figures.
    pub evidence: String,
}

/// Why one may believe something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Assurance {
    /// A theorem, with its source.
    Proved,
    /// Tested, exhaustively or on samples.
    Checked,
    /// Neither.
    Assumed,
}

/// One thing that the claim rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assumption {
    /// Why one may believe it.
    pub layer: Assurance,
    /// What it is.
    pub text: String,
    /// Where that stands.
    pub source: String,
}

/// The rules of one primitive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The primitive.
    pub primitive: String,
    /// Its definition.
    pub definition: String,
    /// Its error bounds, local and carried.
    pub error: String,
    /// Where they come from.
    pub source: String,
}

/// Where it ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Operating system.
    pub os: String,
    /// Processor architecture.
    pub arch: String,
    /// Vector instructions used.
    pub simd: String,
    /// Compiler that built the tool; empty when unknown.
    pub compiler: String,
}
