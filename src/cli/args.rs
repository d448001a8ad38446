//! The command line as typed: flags, their types and their help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};

use crate::import::Objective;

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

/// `certify MODEL`.
#[derive(Debug, Args)]
pub struct Certify {
    /// The graph and its inputs.
    #[command(flatten)]
    pub graph: GraphArgs,
    /// Bound magnitudes over a region as well: every input entry may move by R either way
    #[arg(long, value_name = "R", value_parser = radius)]
    pub region: Option<f64>,
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
    /// Cotangent of an output, for graphs without a scalar loss: "ones", or an npy file
    #[arg(long = "cotangent", value_name = "OUTPUT=ones|FILE.npy", value_parser = assignment)]
    pub cotangents: Vec<(String, String)>,
    /// Append a loss: cross-entropy, nll, mse, bce-logits or sum; its target is one more input,
    /// "labels" (integers) or "target"
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

/// How to run.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Number of threads [default: one per processor]; results don't depend on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Show neither progress nor warnings
    #[arg(long, short)]
    pub quiet: bool,
}

fn assignment(s: &str) -> Result<(String, String), String> {
    match s.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok((name.into(), value.into())),
        _ => Err("NAME=VALUE required".into()),
    }
}

fn size(s: &str) -> Result<(String, usize), String> {
    let (name, value) = assignment(s).map_err(|_| "NAME=N required")?;
    match value.parse() {
        Ok(n) if n > 0 => Ok((name, n)),
        _ => Err(format!("\"{value}\" is no positive whole number")),
    }
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
