//! From a request to a certificate: reads, lowers, runs all passes, and puts the figures together.

pub(crate) mod agreement;
mod checks;
pub(crate) mod document;
mod dump;
pub(crate) mod figures;
mod passes;
pub(crate) mod subject;

pub use checks::{cross_check, invariants};
pub use passes::{ChainChoice, Extras, Passes};
pub use subject::Subject;

use crate::certificate::{Certificate, Policy, ToolBug};
use crate::data::HostTensor;
use crate::error::{Code, Diagnostic, Diagnostics};
use crate::import::value::matches;
use crate::import::{self, Cotangent, Inputs, Lowered, Objective, OnnxModel, Options, Preparation};
use crate::num::{Mag, environment};
use crate::runtime;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where input values come from.
#[derive(Clone, Debug)]
pub enum InputChoice {
    /// An npz archive or a folder of ONNX tensors.
    Path(PathBuf),
    /// Values that are there already.
    Given(Inputs),
    /// Synthetic values, with sizes for dynamic dimensions by name.
    Random {
        /// Seed of the generator.
        seed: u64,
        /// Sizes of named dimensions.
        sizes: BTreeMap<String, usize>,
    },
}

impl InputChoice {
    /// The values, checked against what the model states.
    pub fn read(&self, model: &OnnxModel) -> Result<Inputs, Diagnostics> {
        match self {
            InputChoice::Path(p) => Inputs::read(p, model),
            InputChoice::Given(i) => Ok(i.clone()),
            InputChoice::Random { seed, sizes } => Inputs::synthetic(model, *seed, sizes),
        }
    }
}

/// What is to be certified.
#[derive(Clone, Debug)]
pub struct Request {
    /// The model file.
    pub model: PathBuf,
    /// Its inputs.
    pub inputs: InputChoice,
    /// Cotangents of outputs; empty: 1 on the only, scalar output.
    pub cotangents: Vec<(String, Cotangent)>,
    /// Names (globs) that are parameters whatever the rule says.
    pub params: Vec<String>,
    /// Names (globs) that are not.
    pub freeze: Vec<String>,
    /// Where weights come from that the model file doesn't hold.
    pub weights: Option<PathBuf>,
    /// A loss for a graph without one.
    pub objective: Option<Objective>,
    /// Shapes of inputs that count instead of what the file states.
    pub shapes: Vec<(String, Vec<usize>)>,
    /// Outputs (globs) that are gradients which the graph spells out: certified as they are computed.
    pub outputs: Vec<String>,
    /// Draws the masks of random operators.
    pub seed_masks: Option<u64>,
    /// Every input entry may move by this much: asks for scales and tolerances over the region.
    pub region: Option<f64>,
    /// How the chain rungs come about.
    pub chain: ChainChoice,
    /// So many adversarial runs are played against the portable bounds.
    pub adversary: Option<usize>,
    /// Keeps what the exact pass has found, and goes on from it.
    pub resume: Option<PathBuf>,
    /// What decides.
    pub policy: Policy,
    /// Command line that makes this certificate again, as the report shows it.
    pub reproduce: String,
}

impl Request {
    /// A model and its inputs; all else as the command line has it without options.
    pub fn new(model: PathBuf, inputs: InputChoice) -> Request {
        Request {
            model,
            inputs,
            cotangents: Vec::new(),
            params: Vec::new(),
            freeze: Vec::new(),
            weights: None,
            objective: None,
            shapes: Vec::new(),
            outputs: Vec::new(),
            seed_masks: None,
            region: None,
            chain: ChainChoice::Auto,
            adversary: None,
            resume: None,
            policy: Policy::default(),
            reproduce: String::new(),
        }
    }
}

/// What came out.
#[derive(Debug)]
pub struct Outcome {
    /// The certificate, decided.
    pub certificate: Certificate,
    /// Files for `--dump`: name and arrays.
    pub dump: Vec<(&'static str, Vec<(String, HostTensor)>)>,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Something about the request, its files or this machine.
    #[error("{0}")]
    Diagnostics(#[from] Diagnostics),
    /// A rigorous bound is contradicted.
    #[error("{0}")]
    Bug(#[from] ToolBug),
}

impl From<Diagnostic> for Failure {
    fn from(d: Diagnostic) -> Failure {
        Failure::Diagnostics(d.into())
    }
}

/// Told which pass runs; for progress bars.
pub trait Progress: Sync {
    /// A pass begins.
    fn pass(&self, name: &str);
    /// Something isn't as asked for, though results are.
    fn warn(&self, _: &str) {}
}

/// Says nothing.
#[derive(Clone, Copy, Debug)]
pub struct Quiet;

impl Progress for Quiet {
    fn pass(&self, _: &str) {}
}

/// A model with its inputs, lowered.
#[derive(Debug)]
pub struct Loaded {
    /// The file as decoded.
    pub model: OnnxModel,
    /// Its inputs.
    pub inputs: Inputs,
    /// The graph.
    pub lowered: Lowered,
}

/// Reads the model, and finds out what kind of training graph it is.
pub fn open(request: &Request) -> Result<OnnxModel, Diagnostics> {
    let with = Preparation {
        weights: request.weights.clone(),
        objective: request.objective.clone(),
        shapes: request.shapes.clone(),
    };
    import::open(&request.model, &with)
}

/// Reads and lowers.
pub fn load(request: &Request) -> Result<Loaded, Diagnostics> {
    let seed = match (request.cotangents.as_slice(), request.outputs.is_empty()) {
        (_, false) => import::Seed::None,
        ([], true) => import::Seed::Loss,
        (given, true) => import::Seed::Given(given.to_vec()),
    };
    load_with(request, seed)
}

/// Reads and lowers, with this seed.
pub fn load_with(request: &Request, seed: import::Seed) -> Result<Loaded, Diagnostics> {
    let model = open(request)?;
    let inputs = request.inputs.read(&model)?;
    let chosen = |n: &&String| request.outputs.iter().any(|p| matches(p, n));
    let names: Vec<String> = model.graph.outputs.iter().map(|o| o.name.clone()).collect();
    let outputs: Vec<String> = names.iter().filter(chosen).cloned().collect();
    if !request.outputs.is_empty() && outputs.is_empty() {
        let list = names.iter().map(|n| format!("\"{n}\"")).collect::<Vec<_>>().join(", ");
        let d = Diagnostic::new(Code::Usage, "--outputs matches no output of the graph").file(&model.file);
        return Err(d.note(format!("its outputs are {list}")).into());
    }
    let options = Options {
        outputs,
        seed,
        params: request.params.clone(),
        freeze: request.freeze.clone(),
        draw: request.seed_masks,
        ..Options::default()
    };
    let lowered = import::lower(&model, &inputs, &options)?;
    Ok(Loaded { model, inputs, lowered })
}

/// What is certified of a model: the gradients that it computes itself, else those of its parameters.
pub fn subjects(loaded: &Loaded) -> Result<Vec<Subject>, Diagnostic> {
    subject::of(loaded, false)
}

/// Certifies: all passes, then the decision.
pub fn certify(request: &Request, progress: &dyn Progress) -> Result<Outcome, Failure> {
    environment::check().map_err(Diagnostics::from)?;
    progress.pass("import");
    let loaded = load(request)?;
    let extras = Extras { chain: request.chain, region: request.region.map(Mag::of), adversary: request.adversary };
    let subjects = subject::of(&loaded, !request.outputs.is_empty())?;
    passes::affordable(&loaded.lowered.graph, request.chain)?;
    progress.pass("binary32 run");
    let values = runtime::eval(&loaded.lowered.graph)?;
    // before the tables of the passes are there: the other program needs memory of its own
    progress.pass("another program's run");
    let cross = cross_check(&loaded, &values);
    let passes = Passes::run(&loaded.lowered, values, subjects, extras, request.resume.as_deref(), progress)?;
    progress.pass("certificate");
    let certificate = document::certificate(request, &loaded, &passes, cross)?;
    Ok(Outcome { certificate, dump: dump::files(&loaded.lowered, &passes) })
}
