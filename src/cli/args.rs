//! The command line as typed: flags, their types and their help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};

use crate::gate::Constants;
use crate::import::Objective;
use crate::session::ChainChoice;

const EXAMPLES: &str = "\
Examples:
  certify model.onnx --inputs batch.npz --report report.html
      prove how far the gradients of a training graph are from the true ones
  certify model.onnx --random 0 --dim N=8 --certificate report.json
      the same on synthetic inputs, for a graph with a dynamic batch size
  certify net.onnx --random 0 --cotangent logits=ones --report report.html
      a graph without a scalar loss: say what to differentiate
  certify net.onnx --random 0 --loss cross-entropy --report report.html
      an inference graph with a loss on top
  certify artifacts/training_model.onnx --inputs batch.npz --report report.html
      onnxruntime-training's own gradient nodes, and whether they are right
  certify inspect model.onnx
      show what the graph is made of, and that it keeps its invariants
  certify explain Softmax
      show an operator's rules

Exit status:
  0   certified (or, for the other commands, done)
  1   not certified, or undecided
  2   unsupported, unreadable, or a usage error; no file was written
  70  a bug of certify

A model file called like a command is reached by its path: certify ./inspect";

/// Proves how far a model's binary32 gradients are from the true ones.
///
/// Runs an ONNX training graph in binary32 and in exact arithmetic, bounds the error of every
/// gradient, and decides for each whether it is within its limit.
#[derive(Debug, Parser)]
#[command(name = "certify", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
#[command(subcommand_negates_reqs = true, disable_help_subcommand = true, subcommand_value_name = "COMMAND")]
#[command(subcommand_help_heading = "Other commands")]
pub struct Cli {
    /// Another command than to certify.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What to certify.
    #[command(flatten)]
    pub certify: Certify,
}

/// The commands beside certifying.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what a model's graph is made of, and check its invariants
    Inspect(Inspect),
    /// Compare gradients that another runtime made with the enclosures of the exact ones
    Check(Check),
    /// Derive a certificate's figures and verdicts again, without the bounds
    Verify(Verify),
    /// Say what changed from one certificate to the next
    Diff(Diff),
    /// Put the shards of `certify MODEL --each` together
    Merge(Merge),
    /// Policies: what a release asks of its gradients
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// List the ONNX operators with rules, and the operator sets they have them in
    Ops,
    /// Show the rules of a primitive, or how an ONNX operator is read
    Explain {
        /// Name of a primitive or of an ONNX operator
        #[arg(value_name = "OP")]
        op: String,
    },
    /// Make the report of a certificate that was written before
    Render {
        /// The certificate (JSON)
        #[arg(value_name = "CERT", value_hint = ValueHint::FilePath)]
        certificate: PathBuf,
        /// Where the report goes
        #[arg(long, value_name = "FILE.html", value_hint = ValueHint::FilePath)]
        report: PathBuf,
    },
}

/// Is a word taken for a command?
pub fn is_command(word: &str) -> bool {
    use clap::CommandFactory;
    Cli::command().get_subcommands().any(|c| c.get_name() == word)
}

/// `certify check MODEL`.
#[derive(Debug, Args)]
pub struct Check {
    /// The graph and its inputs.
    #[command(flatten)]
    pub graph: GraphArgs,
    /// The gradients: npz, safetensors, npy, an ONNX tensor, or a directory of .npy or .pb files; keyed by
    /// parameter name. Values of the graph by their names, and their cotangents by "grad:NAME", are
    /// compared as well and show at which layer an error enters
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub gradients: PathBuf,
    /// Call tensors of the file otherwise: "*" and "?" of TO stand for what those of FROM match
    #[arg(long = "rename", value_name = "FROM=TO", value_parser = assignment)]
    pub renames: Vec<(String, String)>,
    /// Constants of the exact gradients: as the file holds them, or as a program in binary64 has them (1e-5, √2, …)
    /// where that can be told from the binary32 number; each is listed
    #[arg(long, value_enum, value_name = "AS", default_value_t)]
    pub constants: Constants,
    /// Limits and waivers (TOML); `certify policy init` writes a commented one
    #[arg(long, value_name = "FILE.toml", value_hint = ValueHint::FilePath)]
    pub policy: Option<PathBuf>,
    /// Write all that was found, JSON ("-" is standard output)
    #[arg(long, value_name = "FILE.json", value_hint = ValueHint::FilePath, help_heading = "Results")]
    pub json: Option<PathBuf>,
    /// Write the JSON in its canonical form (RFC 8785)
    #[arg(long, help_heading = "Results")]
    pub canonical: bool,
    /// Results for machines.
    #[command(flatten)]
    pub results: ResultArgs,
    /// How to run.
    #[command(flatten)]
    pub run: RunArgs,
}

/// `certify verify CERT`.
#[derive(Debug, Args)]
pub struct Verify {
    /// The certificate (JSON)
    #[arg(value_name = "CERT", value_hint = ValueHint::FilePath)]
    pub certificate: PathBuf,
    /// The graph and its inputs.
    #[command(flatten)]
    pub graph: ModelArgs,
    /// The policy that it must have been decided by; without it the one in the certificate counts
    #[arg(long, value_name = "FILE.toml", value_hint = ValueHint::FilePath)]
    pub policy: Option<PathBuf>,
    /// Derive every gradient again, however large the model
    #[arg(long)]
    pub full: bool,
    /// Which gradients of a large model are derived again
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    pub sample: u64,
    /// How to run.
    #[command(flatten)]
    pub run: RunArgs,
}

/// `certify diff OLD NEW`.
#[derive(Debug, Args)]
pub struct Diff {
    /// The certificate of the earlier release
    #[arg(value_name = "OLD", value_hint = ValueHint::FilePath)]
    pub old: PathBuf,
    /// The certificate of the later one
    #[arg(value_name = "NEW", value_hint = ValueHint::FilePath)]
    pub new: PathBuf,
    /// Digits that a gradient may lose; its tolerance may grow by 10 to this power
    #[arg(long, value_name = "DIGITS", value_parser = radius, default_value = "0")]
    pub allow: f64,
    /// Write what changed, JSON ("-" is standard output)
    #[arg(long, value_name = "FILE.json", value_hint = ValueHint::FilePath, help_heading = "Results")]
    pub json: Option<PathBuf>,
}

/// `certify merge`.
#[derive(Debug, Args)]
pub struct Merge {
    /// The shards: certificates of samples
    #[arg(value_name = "FILE.json", required = true, value_hint = ValueHint::FilePath)]
    pub shards: Vec<PathBuf>,
    /// Where the whole goes ("-" is standard output)
    #[arg(long, value_name = "FILE.json", value_hint = ValueHint::FilePath)]
    pub certificate: PathBuf,
}

/// `certify policy`.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Write a commented policy that asks what is asked without one
    Init {
        /// Where it goes ("-" is standard output)
        #[arg(value_name = "FILE.toml", default_value = "release.toml", value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
}

/// Results for machines.
#[derive(Clone, Debug, Default, Args)]
pub struct ResultArgs {
    /// Write one test case per gradient, JUnit XML
    #[arg(long, value_name = "FILE.xml", value_hint = ValueHint::FilePath, help_heading = "Results")]
    pub junit: Option<PathBuf>,
    /// Write what doesn't pass, SARIF 2.1.0
    #[arg(long, value_name = "FILE.sarif", value_hint = ValueHint::FilePath, help_heading = "Results")]
    pub sarif: Option<PathBuf>,
    /// Write an in-toto statement (test-result) about the model, to be signed
    #[arg(long, value_name = "FILE.json", value_hint = ValueHint::FilePath, help_heading = "Results")]
    pub in_toto: Option<PathBuf>,
}

/// `certify MODEL`.
#[derive(Debug, Args)]
pub struct Certify {
    /// The graph and its inputs.
    #[command(flatten)]
    pub graph: GraphArgs,
    /// What else to look for.
    #[command(flatten)]
    pub extras: ExtraArgs,
    /// Limits, requirements and waivers (TOML); `certify policy init` writes a commented one
    #[arg(long, value_name = "FILE.toml", value_hint = ValueHint::FilePath)]
    pub policy: Option<PathBuf>,
    /// Keep what the exact pass has found in a file, and go on from it when the run was ended; the file is
    /// removed when all results are written
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub resume: Option<PathBuf>,
    /// Certify samples one by one: --inputs is a directory of archives, or one archive with several
    #[arg(long, requires = "inputs", conflicts_with_all = ["report", "dump", "region", "adversary", "resume", "junit", "sarif", "in_toto"])]
    pub each: bool,
    /// How many entries of the first axis make a sample, where the model leaves it open
    #[arg(long, value_name = "N", requires = "each", value_parser = clap::value_parser!(u64).range(1..))]
    pub batch: Option<u64>,
    /// Certify the I-th of N parts of the samples; `certify merge` puts the parts together
    #[arg(long, value_name = "I/N", requires = "each", value_parser = shard)]
    pub shard: Option<(usize, usize)>,
    /// Write the certificate in its canonical form (RFC 8785)
    #[arg(long, help_heading = "Results")]
    pub canonical: bool,
    /// Results for machines.
    #[command(flatten)]
    pub results: ResultArgs,
    /// Write the report, one self-contained HTML file ("-" is standard output)
    #[arg(long, value_name = "FILE.html", value_hint = ValueHint::FilePath, help_heading = "Results")]
    pub report: Option<PathBuf>,
    /// Write the certificate, JSON ("-" is standard output)
    #[arg(long, value_name = "FILE.json", value_hint = ValueHint::FilePath, help_heading = "Results")]
    pub certificate: Option<PathBuf>,
    /// Write gradients and outputs, of the run and exact, as npz archives into a directory
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Results")]
    pub dump: Option<PathBuf>,
    /// How to run.
    #[command(flatten)]
    pub run: RunArgs,
}

/// What may be asked for beyond the usual.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct ExtraArgs {
    /// Bound errors and magnitudes over a region as well: every input entry may move by R either way
    #[arg(long, value_name = "R", value_parser = radius)]
    pub region: Option<f64>,
    /// The chain rungs: auto weighs the cost of exact ones and of probes, exact and probes ask for them at any
    /// cost, off leaves them out
    #[arg(long, value_name = "HOW", default_value = "auto")]
    pub chain: ChainChoice,
    /// Play N conforming runs that err as far as they can, and say how much of the bounds they reach
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub adversary: Option<u32>,
}

/// `certify inspect MODEL`.
#[derive(Debug, Args)]
pub struct Inspect {
    /// The graph and its inputs.
    #[command(flatten)]
    pub graph: GraphArgs,
    /// How to run.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Which graph, on which inputs, and what to differentiate.
#[derive(Clone, Debug, Args)]
pub struct GraphArgs {
    /// The model: an ONNX file
    #[arg(value_name = "MODEL", required = true, value_hint = ValueHint::FilePath)]
    pub model: Option<PathBuf>,
    /// Inputs: an npz archive keyed by input name, or a directory of input_0.pb, input_1.pb, …
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath, conflicts_with = "random")]
    pub inputs: Option<PathBuf>,
    /// Synthetic inputs drawn from a seed; the report says so in red
    #[arg(long, value_name = "SEED")]
    pub random: Option<u64>,
    /// Size of a dynamic dimension of synthetic inputs
    #[arg(long = "dim", value_name = "NAME=N", value_parser = size, conflicts_with = "inputs")]
    pub dims: Vec<(String, usize)>,
    /// Take an input to have this shape, whatever the file states; repeatable
    #[arg(long = "shape", value_name = "INPUT=N,N,…", value_parser = shape)]
    pub shapes: Vec<(String, Vec<usize>)>,
    /// Cotangent of an output (or of any value that a node makes), for graphs without a scalar loss:
    /// "ones", or an npy file
    #[arg(long = "cotangent", value_name = "OUTPUT=ones|FILE.npy", value_parser = assignment)]
    pub cotangents: Vec<(String, String)>,
    /// Append a loss: cross-entropy, nll, mse, bce-logits or sum, of an output or of any value that a
    /// node makes; its target is one more input, "labels" (integers) or "target"
    #[arg(long, value_name = "KIND[:OUTPUT]", conflicts_with = "cotangents")]
    pub loss: Option<Objective>,
    /// Certify these outputs as the graph computes them: gradients that are spelled out in operators
    #[arg(long, value_name = "GLOB", conflicts_with_all = ["cotangents", "loss"])]
    pub outputs: Vec<String>,
    /// Weights that the model lacks: a checkpoint of onnxruntime-training, .onnx, .npz or .safetensors
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub weights: Option<PathBuf>,
    /// Draw the masks of dropouts and the like once, from a seed; without it they are refused
    #[arg(long, value_name = "SEED")]
    pub seed_masks: Option<u64>,
    /// Count values with matching names as parameters ("*" is any text, "?" any character)
    #[arg(long, value_name = "GLOB")]
    pub params: Vec<String>,
    /// Don't count values with matching names as parameters
    #[arg(long, value_name = "GLOB")]
    pub freeze: Vec<String>,
}

/// The same, for commands whose first argument is another file.
#[derive(Clone, Debug, Args)]
pub struct ModelArgs {
    /// The model: an ONNX file
    #[arg(long, value_name = "MODEL", value_hint = ValueHint::FilePath)]
    pub model: PathBuf,
    /// Inputs: an npz archive keyed by input name, or a directory of input_0.pb, input_1.pb, …
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath, conflicts_with = "random")]
    pub inputs: Option<PathBuf>,
    /// Synthetic inputs drawn from a seed
    #[arg(long, value_name = "SEED")]
    pub random: Option<u64>,
    /// Size of a dynamic dimension of synthetic inputs
    #[arg(long = "dim", value_name = "NAME=N", value_parser = size, conflicts_with = "inputs")]
    pub dims: Vec<(String, usize)>,
    /// As it was certified
    #[arg(long = "shape", value_name = "INPUT=N,N,…", value_parser = shape)]
    pub shapes: Vec<(String, Vec<usize>)>,
    /// Cotangent of an output, as it was certified
    #[arg(long = "cotangent", value_name = "OUTPUT=ones|FILE.npy", value_parser = assignment)]
    pub cotangents: Vec<(String, String)>,
    /// As it was certified
    #[arg(long, value_name = "KIND[:OUTPUT]", conflicts_with = "cotangents")]
    pub loss: Option<Objective>,
    /// As it was certified
    #[arg(long, value_name = "GLOB", conflicts_with_all = ["cotangents", "loss"])]
    pub outputs: Vec<String>,
    /// As it was certified
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub weights: Option<PathBuf>,
    /// As it was certified
    #[arg(long, value_name = "SEED")]
    pub seed_masks: Option<u64>,
    /// As it was certified
    #[arg(long, value_name = "GLOB")]
    pub params: Vec<String>,
    /// As it was certified
    #[arg(long, value_name = "GLOB")]
    pub freeze: Vec<String>,
}

impl From<ModelArgs> for GraphArgs {
    fn from(m: ModelArgs) -> GraphArgs {
        GraphArgs {
            model: Some(m.model),
            inputs: m.inputs,
            random: m.random,
            dims: m.dims,
            shapes: m.shapes,
            cotangents: m.cotangents,
            loss: m.loss,
            outputs: m.outputs,
            weights: m.weights,
            seed_masks: m.seed_masks,
            params: m.params,
            freeze: m.freeze,
        }
    }
}

/// How to run.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Number of threads [default: one per processor]; results don't depend on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Memory that may be taken, such as 8G or 50% [default: 80% of what is there]; what needs more is
    /// refused before it begins, with the estimate
    #[arg(long, value_name = "SIZE", value_parser = crate::limits::parse)]
    pub max_memory: Option<u64>,
    /// Show neither progress nor warnings
    #[arg(long, short)]
    pub quiet: bool,
    /// Say on standard error how long each pass took, and the most memory that was in use until then
    #[arg(long)]
    pub times: bool,
}

fn assignment(s: &str) -> Result<(String, String), String> {
    match s.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok((name.into(), value.into())),
        _ => Err("NAME=VALUE required".into()),
    }
}

fn shard(s: &str) -> Result<(usize, usize), String> {
    let parts = s.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    match parts {
        Some((i, n)) if i >= 1 && i <= n => Ok((i, n)),
        _ => Err("I/N required, with I from 1 to N".into()),
    }
}

fn size(s: &str) -> Result<(String, usize), String> {
    let (name, value) = assignment(s).map_err(|_| "NAME=N required")?;
    match value.parse() {
        Ok(n) if n > 0 => Ok((name, n)),
        _ => Err(format!("\"{value}\" is no positive whole number")),
    }
}

fn shape(s: &str) -> Result<(String, Vec<usize>), String> {
    let (name, value) = assignment(s).map_err(|_| "INPUT=N,N,… required")?;
    let sizes: Option<Vec<usize>> = value.split(',').map(|n| n.trim().parse().ok().filter(|n| *n > 0)).collect();
    sizes.map(|s| (name, s)).ok_or_else(|| format!("\"{value}\" is no list of positive whole numbers"))
}

fn radius(s: &str) -> Result<f64, String> {
    match s.parse::<f64>() {
        Ok(r) if r.is_finite() && r >= 0.0 => Ok(r),
        _ => Err("a finite number of at least 0 required".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn files_called_like_commands_are_reached_by_their_path() {
        let parse = |args: &[&str]| Cli::try_parse_from([&["certify"], args].concat());
        assert!(matches!(parse(&["inspect", "m"]).unwrap().command, Some(Command::Inspect(_))));
        let cli = parse(&["./inspect", "--random", "1"]).unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.certify.graph.model.unwrap(), PathBuf::from("./inspect"));
        let cli = parse(&["--", "inspect"]).unwrap();
        assert_eq!(cli.certify.graph.model.unwrap(), PathBuf::from("inspect"));
    }

    #[test]
    fn values_are_checked_while_parsing() {
        for bad in [
            &["m", "--dim", "N=0"][..],
            &["m", "--dim", "=3"],
            &["m", "--cotangent", "y"],
            &["m", "--region", "-1"],
            &["m", "--region", "inf"],
            &["m", "--threads", "0"],
            &["m", "--inputs", "a", "--random", "1"],
            &["m", "--inputs", "a", "--dim", "N=1"],
            &["m", "--loss", "hinge"],
            &["m", "--loss", "mse:"],
            &["m", "--loss", "mse", "--outputs", "y"],
            &["--random", "1"],
            &[],
        ] {
            assert!(Cli::try_parse_from([&["certify"], bad].concat()).is_err(), "{bad:?}");
        }
    }
}
