//! From a request to a certificate: reads, lowers, runs all passes, and puts the figures together.

mod checks;
pub(crate) mod document;
mod dump;
pub(crate) mod figures;
mod passes;

pub use checks::{cross_check, invariants};
pub use passes::Passes;

use crate::certificate::{Certificate, Policy, ToolBug};
use crate::data::HostTensor;
use crate::error::{Diagnostic, Diagnostics};
use crate::import::{self, Cotangent, Inputs, Lowered, OnnxModel, Options};
use crate::num::{Mag, environment};
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
    /// Every input entry may move by this much: asks for scales over the region.
    pub region: Option<f64>,
    /// Keeps what the exact pass has found, and goes on from it.
    pub resume: Option<PathBuf>,
    /// What decides.
    pub policy: Policy,
    /// Command line that makes this certificate again, as the report shows it.
    pub reproduce: String,
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

/// Reads and lowers.
pub fn load(request: &Request) -> Result<Loaded, Diagnostics> {
    let model = import::read(&request.model)?;
    let inputs = request.inputs.read(&model)?;
    let seed = match request.cotangents.as_slice() {
        [] => import::Seed::Loss,
        given => import::Seed::Given(given.to_vec()),
    };
    let options =
        Options { seed, params: request.params.clone(), freeze: request.freeze.clone(), ..Options::default() };
    let lowered = import::lower(&model, &inputs, &options)?;
    Ok(Loaded { model, inputs, lowered })
}

/// Certifies: all passes, then the decision.
pub fn certify(request: &Request, progress: &dyn Progress) -> Result<Outcome, Failure> {
    environment::check().map_err(Diagnostics::from)?;
    progress.pass("import");
    let loaded = load(request)?;
    let region = request.region.map(Mag::of);
    let passes = Passes::run(&loaded.lowered, region, request.resume.as_deref(), progress)?;
    progress.pass("certificate");
    let certificate = document::certificate(request, &loaded, &passes)?;
    Ok(Outcome { certificate, dump: dump::files(&loaded.lowered, &passes) })
}
