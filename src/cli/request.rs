//! From flags to a request: files named on the command line are read, and names looked up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::args::{ExtraArgs, GraphArgs};
use crate::certificate::Policy;
use crate::data::npy;
use crate::error::{Code, Diagnostic, Diagnostics};
use crate::gate::policy;
use crate::import::model::Dim;
use crate::import::objective::KINDS;
use crate::import::value::matches;
use crate::import::{self, Cotangent, OnnxModel, Preparation};
use crate::session::{ChainChoice, InputChoice, Request};
use clap::ValueEnum;

/// The model file; clap has made sure that there is one.
pub(super) fn model(args: &GraphArgs) -> Result<&Path, Diagnostic> {
    args.model.as_deref().ok_or_else(|| Diagnostic::new(Code::Usage, "no model is named"))
}

/// The request that the flags make. The model is decoded here only where a flag names a part of it.
///
/// Also reads the policy.
pub(super) fn of(args: &GraphArgs, extras: ExtraArgs, policy: Option<&Path>) -> Result<Request, Diagnostics> {
    let decided_by = policy.map_or_else(|| Ok(Policy::default()), policy::read)?;
    let path = model(args)?;
    let undecided = args.inputs.is_none() && args.random.is_none();
    let named = !args.dims.is_empty() || !args.params.is_empty() || !args.freeze.is_empty();
    let with = Preparation { weights: args.weights.clone(), objective: args.loss.clone(), shapes: args.shapes.clone() };
    let decoded = if undecided || named { Some(import::open(path, &with)?) } else { None };
    let mut problems = Diagnostics::default();
    if let Some(m) = &decoded {
        names(args, m, &mut problems);
        if undecided && !m.graph.inputs.is_empty() {
            problems.push(no_inputs(path, m));
        }
    }
    let mut cotangents = Vec::new();
    for (output, value) in &args.cotangents {
        if cotangents.iter().any(|(o, _)| o == output) {
            problems.push(Diagnostic::new(Code::Usage, format!("output \"{output}\" is given two cotangents")));
        }
        match cotangent(value) {
            Ok(c) => cotangents.push((output.clone(), c)),
            Err(d) => problems.push(d),
        }
    }
    let inputs = match &args.inputs {
        Some(p) => InputChoice::Path(p.clone()),
        None => InputChoice::Random { seed: args.random.unwrap_or(0), sizes: args.dims.iter().cloned().collect() },
    };
    problems.into_result(Request {
        model: path.to_path_buf(),
        inputs,
        cotangents,
        params: args.params.clone(),
        freeze: args.freeze.clone(),
        region: extras.region,
        chain: extras.chain,
        adversary: extras.adversary.map(|n| n as usize),
        weights: args.weights.clone(),
        objective: args.loss.clone(),
        shapes: args.shapes.clone(),
        outputs: args.outputs.clone(),
        seed_masks: args.seed_masks,
        resume: None,
        policy: decided_by,
        reproduce: reproduce(args, extras, policy),
    })
}

/// Names that the model doesn't have are mistakes, not wishes without effect.
fn names(args: &GraphArgs, model: &OnnxModel, problems: &mut Diagnostics) {
    let mut symbols: BTreeMap<&str, usize> = BTreeMap::new();
    for dim in model.graph.inputs.iter().flat_map(|v| v.dims.iter().flatten()) {
        if let Dim::Symbol(s) = dim {
            *symbols.entry(s).or_default() += 1;
        }
    }
    for (i, (name, _)) in args.dims.iter().enumerate() {
        let again = args.dims[..i].iter().any(|(n, _)| n == name);
        if again {
            problems.push(Diagnostic::new(Code::Usage, format!("dimension \"{name}\" is given two sizes")));
        } else if !symbols.contains_key(name.as_str()) {
            let have: Vec<String> = symbols.keys().map(|s| format!("\"{s}\"")).collect();
            let what = format!("no input has a dimension \"{name}\"");
            let d = Diagnostic::new(Code::Usage, what).file(&model.file);
            problems.push(match have.is_empty() {
                true => d.note("the inputs have no dynamic dimension with a name"),
                false => d.note(format!("the dynamic dimensions are {}", have.join(", "))),
            });
        }
    }
    for (flag, patterns) in [("--params", &args.params), ("--freeze", &args.freeze)] {
        for p in patterns.iter().filter(|p| !model.graph.values().any(|v| matches(p, v))) {
            problems.push(
                Diagnostic::new(Code::Usage, format!("{flag} \"{p}\" matches no value of the graph"))
                    .file(&model.file)
                    .help("`certify inspect MODEL` lists the names"),
            );
        }
    }
}

fn no_inputs(path: &Path, model: &OnnxModel) -> Diagnostic {
    let names: Vec<String> = model.graph.inputs.iter().map(|v| format!("\"{}\"", v.name)).collect();
    let d = Diagnostic::new(Code::Input, "neither --inputs nor --random is given")
        .file(&model.file)
        .note(format!("the graph's inputs are {}", names.join(", ")));
    match beside(path) {
        Some(found) => {
            let found = found.display().to_string();
            d.note(format!("\"{found}\" stands beside the model"))
                .help(format!("--inputs {} takes them from there; --random SEED draws synthetic ones", quoted(&found)))
        }
        None => d.help("--inputs FILE.npz gives them; --random SEED draws synthetic ones"),
    }
}

/// A file beside the model that is called like its inputs.
fn beside(model: &Path) -> Option<PathBuf> {
    let stem = model.file_stem()?;
    let mut own = stem.to_os_string();
    own.push(".inputs.npz");
    [model.with_file_name(own), model.with_file_name("inputs.npz")].into_iter().find(|p| p.is_file())
}

fn cotangent(value: &str) -> Result<Cotangent, Diagnostic> {
    if value == "ones" {
        return Ok(Cotangent::Ones);
    }
    let bytes = crate::limits::read(Path::new(value)).map_err(|e| {
        Diagnostic::new(Code::Io, format!("the cotangent can't be read: {e}"))
            .file(value)
            .help("a cotangent is \"ones\" or an npy file")
    })?;
    let tensor = npy::read(&bytes).map_err(|e| {
        Diagnostic::new(Code::Malformed, format!("the cotangent can't be read: {e}"))
            .file(value)
            .help("write it with numpy.save")
    })?;
    Ok(Cotangent::Tensor(tensor))
}

/// The command line that makes the certificate again: files by the last component of their names,
/// so that nothing of this machine stands in the report, and nothing that results don't depend on.
fn reproduce(args: &GraphArgs, extras: ExtraArgs, policy: Option<&Path>) -> String {
    let base = |p: &Path| p.file_name().map_or_else(|| p.display().to_string(), |n| n.to_string_lossy().into_owned());
    let mut words = vec!["certify".to_string()];
    let mut add = |flag: &str, value: &str| {
        if !flag.is_empty() {
            words.push(flag.into());
        }
        words.push(quoted(value));
    };
    let name = args.model.as_deref().map(base).unwrap_or_default();
    // A name that would be taken for a flag or a command is given as a path.
    let plain = !name.starts_with('-') && !super::args::is_command(&name);
    add("", &if plain { name } else { format!("./{name}") });
    match (&args.inputs, args.random) {
        (Some(p), _) => add("--inputs", &base(p)),
        (None, Some(seed)) => add("--random", &seed.to_string()),
        (None, None) => {}
    }
    for (name, n) in &args.dims {
        add("--dim", &format!("{name}={n}"));
    }
    for (name, sizes) in &args.shapes {
        add("--shape", &format!("{name}={}", sizes.iter().map(usize::to_string).collect::<Vec<_>>().join(",")));
    }
    for (output, value) in &args.cotangents {
        let value = if value == "ones" { value.clone() } else { base(Path::new(value)) };
        add("--cotangent", &format!("{output}={value}"));
    }
    if let Some(o) = &args.loss {
        let name = KINDS.iter().find(|(_, k)| *k == o.kind).map_or("", |(n, _)| n);
        add("--loss", &o.output.as_ref().map_or_else(|| name.to_string(), |out| format!("{name}:{out}")));
    }
    args.outputs.iter().for_each(|p| add("--outputs", p));
    if let Some(p) = &args.weights {
        add("--weights", &base(p));
    }
    if let Some(seed) = args.seed_masks {
        add("--seed-masks", &seed.to_string());
    }
    args.params.iter().for_each(|p| add("--params", p));
    args.freeze.iter().for_each(|p| add("--freeze", p));
    if let Some(r) = extras.region {
        add("--region", &format!("{r:?}"));
    }
    if let Some(how) = extras.chain.to_possible_value().filter(|_| extras.chain != ChainChoice::Auto) {
        add("--chain", how.get_name());
    }
    if let Some(n) = extras.adversary {
        add("--adversary", &n.to_string());
    }
    if let Some(p) = policy {
        add("--policy", &base(p));
    }
    add("--certificate", "report.json");
    add("--report", "report.html");
    words.join(" ")
}

/// A word as a POSIX shell reads it back.
fn quoted(word: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(safe) { word.into() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> GraphArgs {
        GraphArgs {
            model: Some("/home/somebody/net 1.onnx".into()),
            inputs: None,
            random: Some(7),
            dims: vec![("N".into(), 4)],
            shapes: vec![("x".into(), vec![4, 3])],
            cotangents: vec![("y".into(), "ones".into()), ("z".into(), "/home/somebody/z.npy".into())],
            params: vec!["fc*".into()],
            freeze: vec!["it's".into()],
            loss: None,
            outputs: Vec::new(),
            weights: None,
            seed_masks: Some(3),
        }
    }

    #[test]
    fn the_command_to_reproduce_is_quoted_and_names_no_folder() {
        let text = reproduce(
            &args(),
            ExtraArgs { region: Some(0.25), adversary: Some(8), chain: ChainChoice::Probes },
            Some(Path::new("/etc/p.toml")),
        );
        assert_eq!(
            text,
            "certify 'net 1.onnx' --random 7 --dim N=4 --shape x=4,3 --cotangent y=ones --cotangent z=z.npy --seed-masks 3 \
             --params 'fc*' --freeze 'it'\\''s' --region 0.25 --chain probes --adversary 8 --policy p.toml --certificate report.json --report report.html"
        );
        let odd = |name: &str| reproduce(&GraphArgs { model: Some(name.into()), ..args() }, ExtraArgs::default(), None);
        assert!(odd("ops").starts_with("certify ./ops --random"));
        assert!(odd("-m.onnx").starts_with("certify ./-m.onnx --random"));
    }
}
