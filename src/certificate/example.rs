//! Fabricated certificates for tests: plausible figures, no model behind them.

use super::*;
use crate::num::Mag;

/// Figures of one made-up parameter: name, operator, shape, ‖g‖∞, error ÷ ‖g‖∞.
type Row = (&'static str, &'static str, &'static [usize], f64, f64);

const ROWS: [Row; 8] = [
    ("features.0.weight", "Conv", &[16, 1, 3, 3], 8.1e-2, 3.1e-7),
    ("features.0.bias", "Conv", &[16], 4.4e-2, 2.2e-7),
    ("features.3.weight", "Conv", &[32, 16, 3, 3], 3.9e-2, 2.7e-7),
    ("features.3.bias", "Conv", &[32], 2.3e-2, 1.9e-7),
    ("classifier.1.weight", "Gemm", &[64, 128], 5.7e-2, 2.2e-7),
    ("classifier.1.bias", "Gemm", &[64], 6.1e-2, 1.4e-7),
    ("classifier.3.weight", "Gemm", &[10, 64], 2.9e-1, 1.3e-7),
    ("classifier.3.bias", "Gemm", &[10], 1.2e-1, 9.0e-8),
];

/// A made-up node: name, operator, ‖x‖∞, nodes read.
type NodeRow = (&'static str, &'static str, f64, &'static [&'static str]);

const NODES: [NodeRow; 11] = [
    ("/features/0/Conv", "Conv", 3.1, &[]),
    ("/features/1/Relu", "Relu", 2.9, &["/features/0/Conv"]),
    ("/features/2/MaxPool", "MaxPool", 2.9, &["/features/1/Relu"]),
    ("/features/3/Conv", "Conv", 4.4, &["/features/2/MaxPool"]),
    ("/features/4/Add", "Add", 6.3, &["/features/3/Conv", "/features/2/MaxPool"]),
    ("/features/5/Relu", "Relu", 6.3, &["/features/4/Add"]),
    ("/classifier/0/Flatten", "Flatten", 6.3, &["/features/5/Relu"]),
    ("/classifier/1/Gemm", "Gemm", 9.7, &["/classifier/0/Flatten"]),
    ("/classifier/2/Relu", "Relu", 9.7, &["/classifier/1/Gemm"]),
    ("/classifier/3/Gemm", "Gemm", 14.2, &["/classifier/2/Relu"]),
    ("/loss", "SoftmaxCrossEntropyLoss", 0.24, &["/classifier/3/Gemm"]),
];

/// Attributes of a made-up convolution: name, type, value.
const CONV: [[&str; 3]; 3] =
    [["auto_pad", "STRING", "NOTSET"], ["group", "INT", "1"], ["pads", "INTS", "[1, 1, 1, 1]"]];

/// A made-up node as its file has it.
fn onnx_node(node: &str, reads: &[&str], attributes: &[[&str; 3]]) -> OnnxNode {
    let attribute =
        |&[name, kind, value]: &[&str; 3]| NodeAttribute { name: text(name), kind: text(kind), value: text(value) };
    OnnxNode {
        domain: text("ai.onnx"),
        opset: 17,
        inputs: reads.iter().map(|r| format!("{r}_output_0")).chain([String::new()]).collect(),
        outputs: vec![format!("{node}_output_0")],
        attributes: attributes.iter().map(attribute).collect(),
    }
}

fn text(s: &str) -> String {
    s.into()
}

fn around(x: f64, width: f64) -> Enclosure {
    Enclosure::of(x * (1.0 - width), x * (1.0 + width))
}

/// A certificate without gradients.
pub(crate) fn empty() -> Certificate {
    let model = Model {
        file: text("digits_cnn.onnx"),
        sha256: "5f1c0a4b7d".repeat(7)[..64].into(),
        producer: text("pytorch 2.9.1"),
        opsets: vec![Opset { domain: String::new(), version: 17 }],
        nodes: 14,
        parameter_tensors: 8,
        parameters: 13_818,
        files: Vec::new(),
    };
    let tensor = |name: &str, shape: &[u64], dtype: &str| TensorInfo {
        name: text(name),
        shape: shape.to_vec(),
        dtype: text(dtype),
    };
    let inputs = Inputs {
        source: InputSource::File,
        file: Some(text("digits_cnn.inputs.npz")),
        random_seed: None,
        sha256: "09ab3c".repeat(11)[..64].into(),
        tensors: vec![tensor("x", &[32, 1, 8, 8], "float32"), tensor("target", &[32], "int64")],
    };
    let rounding = RoundingModel {
        reductions: vec![Reduction {
            what: text("matrix products and convolutions"),
            tree: text("blocks of B = 64 products in sequence, blocks added pairwise; height 64 + ⌈log2⌈n/64⌉⌉"),
            fma: true,
        }],
        elementary: vec![
            Elementary {
                function: text("exp"),
                ulps: Num::of(0.51),
                established: text("all 2^32 arguments against MPFR"),
            },
            Elementary {
                function: text("log"),
                ulps: Num::of(0.51),
                established: text("all 2^32 arguments against MPFR"),
            },
        ],
        ..RoundingModel::default()
    };
    let exact = ExactPass {
        arithmetic: text("MPFR balls, scalar"),
        bits: 128,
        attempts: vec![80, 128],
        cap: 4096,
        capped: false,
    };
    let env = Environment {
        os: text("linux"),
        arch: text("x86_64"),
        simd: text("avx512f, fma"),
        compiler: text("rustc 1.91.0"),
    };
    Certificate::new(model, inputs, rounding, exact, env)
}

/// A gradient of the file that agrees with the derivative.
fn agreement(g: &Gradient) -> Agreement {
    Agreement {
        parameter: g.name.clone(),
        tensor: format!("{}_grad", g.name),
        stated_norm: g.spec_norm,
        derived_norm: g.spec_norm,
        difference: Enclosure::of(0.0, g.spec_norm.hi() * 1e-20),
        enclosures_meet: true,
        limit: Num::ZERO,
        verdict: Status::Undecided,
        wrong_node: None,
    }
}

/// One gradient with all rungs; `depth` is its distance from the loss.
fn gradient(row: &Row, depth: usize) -> Gradient {
    let &(name, op, shape, norm, rel) = row;
    let (layer, _) = name.rsplit_once('.').unwrap_or((name, ""));
    let observed = around(norm * rel, 1e-4);
    let spec_norm = around(norm, 1e-12);
    let figures = Figures { max_abs: norm * (1.0 + rel / 3.0), spec_norm, observed };
    let mut g = Gradient::new(name, layer, op, &format!("/{}/{op}", layer.replace('.', "/")), shape, figures);
    let d = depth as f64;
    let reference = around(norm * rel * 1.7, 1e-4);
    let factor = |base: f64, growth: f64| Mag::of(observed.hi() * base * growth.powf(d));
    g.bound(Rung::Literal, factor(2.0e4, 45.0), Some(reference));
    g.bound(Rung::Portable, factor(300.0, 5.5), Some(observed));
    g.bound(Rung::Schedule, factor(60.0, 4.0), Some(observed));
    g.bound(Rung::Run, factor(5.0, 1.9), Some(observed));
    g.bound(Rung::ChainPortable, factor(260.0, 1.4), Some(observed));
    g.bound(Rung::ChainSchedule, factor(50.0, 1.3), Some(observed));
    g.bound(Rung::ChainRun, factor(4.0, 1.1), Some(observed));
    g.bound(Rung::Direct, Mag::of(observed.hi()), Some(observed));
    let probes = Bound::new(Rung::Probabilistic, factor(1.8, 1.05), spec_norm, Some(observed));
    g.bounds.set(Rung::Probabilistic, probes.by_probes(0.999));
    g.scale = Num::new(norm * 3.0 * (1.0 + d));
    g.lost_entries = Some((depth % 3) as u64);
    g.undecided_gates = (depth / 2 * 3) as u64;
    let at = norm * 0.61;
    g.worst = Some(WorstEntry {
        index: shape.iter().map(|&n| n as u64 / 2).collect(),
        runtime: Exact(Num::of(f64::from(at as f32))),
        spec: Enclosure::of(at - norm * rel, at - norm * rel * 0.9999),
        ulps: Num::of(3.5),
    });
    g.terms = Some(Terms {
        rung: Rung::Schedule,
        carried: Num::of(observed.hi() * 41.0),
        local: Num::of(observed.hi() * 19.0),
    });
    g.histogram = Some(Histogram {
        unit: text("u·‖g‖∞"),
        edges: [0.01, 0.1, 1.0, 10.0].map(Num::of).to_vec(),
        counts: vec![3, 40, 81, 19, 1],
    });
    g.budget = Some(vec![
        Contribution {
            node: text("/features/0/Conv"),
            op: text("Conv"),
            pass: text("forward"),
            error: Num::of(observed.hi() * 0.4),
            share: Num::of(0.4),
        },
        Contribution {
            node: text("/classifier/1/Gemm"),
            op: text("Gemm"),
            pass: text("backward"),
            error: Num::of(observed.hi() * -0.25),
            share: Num::of(0.25),
        },
    ]);
    g
}

/// What stands around the gradients.
fn furnish(c: &mut Certificate) {
    c.seed = vec![Seed { output: text("loss"), value: text("1"), sha256: None }];
    c.loss = vec![Loss {
        output: text("loss"),
        runtime: Exact(Num::of(0.238_414_22_f32.into())),
        spec: Enclosure::of(0.238_414_213_1, 0.238_414_213_2),
    }];
    c.graph = GraphSize { leaves: 12, primitive_nodes: 17, onnx_nodes: 14 };
    c.gates = Gates { total: 38_912, undecided: 3, differing: 0, ties: 512, unresolved: 0 };
    for (k, &(node, op, norm, reads)) in NODES.iter().enumerate() {
        // Digits are lost with depth.
        let rel = 8e-8 * 1.9f64.powi(k as i32);
        let observed = around(norm * rel, 1e-4);
        let spec_norm = around(norm, 1e-12);
        let figures = Figures { max_abs: norm, spec_norm, observed };
        let mut layer = ForwardLayer::new(node, op, &[32, 16 + k], figures);
        layer.bound(Rung::Portable, Mag::of(norm * rel * 20.0), Some(observed));
        layer.inputs = reads.iter().map(|&r| text(r)).collect();
        layer.onnx = onnx_node(node, reads, if op == "Conv" { &CONV } else { &[] });
        if node == "/features/1/Relu" {
            layer.gates = c.gates;
            layer.undecided = vec![UndecidedGate {
                index: vec![3, 7, 0, 5],
                runtime: Exact(Num::of(1.5e-7_f32.into())),
                spec: Enclosure::of(1.4e-7, 1.41e-7),
                kink: Num::ZERO,
                error: Num::new(6.1e-7),
            }];
        }
        c.forward.push(layer);
    }
    let figures = Figures {
        max_abs: 0.238_414_22_f32.into(),
        spec_norm: Enclosure::of(0.238_414_213_1, 0.238_414_213_2),
        observed: Enclosure::of(1.1e-8, 1.2e-8),
    };
    let mut output = Output::new("loss", &[], figures);
    output.bound(Rung::Portable, Mag::of(1.3e-6), Some(figures.observed));
    c.outputs = vec![output];
    let check = |kind, name: &str, evidence: &str| Check {
        kind,
        name: text(name),
        result: Status::Pass,
        evidence: text(evidence),
    };
    c.checks = vec![
        check(CheckKind::Invariant, "node count = |Γ| + |ss|", "12 + 17 = 29"),
        check(CheckKind::Hypothesis, "round to nearest, no flush to zero", "tested on every worker"),
        check(CheckKind::CrossCheck, "tract's forward run", "largest difference 3.1e-7 of ‖y‖∞"),
        check(CheckKind::NegativeControl, "one entry of a kernel's gradient off by 1 %", "rejected"),
    ];
    let assume = |layer, text_: &str, source: &str| Assumption { layer, text: text(text_), source: text(source) };
    c.assumptions = vec![
        assume(Assurance::Proved, "dot products err by at most n·u·Σ|ab| + (nη/2)(1+nu)", "Jeannerod & Rump 2013"),
        assume(Assurance::Checked, "elementary functions are within their ulps", "all 2^32 arguments against MPFR"),
        assume(Assurance::Assumed, "MPFR rounds as documented", "MPFR 4.2 manual"),
    ];
    c.rules = vec![Rule {
        primitive: text("matmul"),
        definition: text("C = A·B"),
        error: text("E_C = |Â|·E_B + E_A·(|B̂| + E_B) + local"),
        source: text("Higham 2002, ch. 3; Jeannerod & Rump 2013"),
    }];
    c.reproduce = vec![text(
        "certify digits_cnn.onnx --inputs digits_cnn.inputs.npz --report report.html --certificate report.json",
    )];
}

/// A certified model with every field filled.
pub(crate) fn certified() -> Certificate {
    let mut c = empty();
    c.gradients = ROWS.iter().enumerate().map(|(i, row)| gradient(row, (7 - i) / 2)).collect();
    furnish(&mut c);
    c.date = Some(text("2026-01-31"));
    c.notes = vec![text("figures of this certificate are made up")];
    c.seed.push(Seed { output: text("logits"), value: text("cotangent.npy"), sha256: Some("c0ffee12".repeat(8)) });
    c.region = Some(Region { radius: Num::of(0.125) });
    c.adversary = Some(Adversary { runs: 64, seed: text("44382") });
    for g in &mut c.gradients {
        g.region_scale = g.scale;
        g.region_tolerance = g.bounds.portable.as_ref().map(|b| {
            let abs = Mag::of(b.abs.map_or(f64::INFINITY, Num::get)) * Mag::of(3.0);
            RegionTolerance::new(abs, g.spec_norm)
        });
        g.adversary = Some(Reached::new(g.observed.hi() * 1.5, g.bounds.portable.as_ref()));
    }
    c.decide(Limits::default()).expect("the figures are consistent");
    c
}

/// A model that is not certified, with tensors of every verdict and kind, on synthetic inputs.
pub(crate) fn not_certified() -> Certificate {
    let mut c = empty();
    let rows: [Row; 5] = [
        ("net.conv1.weight", "Conv", &[8, 3, 3, 3], 0.1, 2e-7),
        ("net.conv1.bias", "Conv", &[8], 0.1, 1e-7),
        ("net.fc1.weight", "Gemm", &[64, 512], 0.2, 5e-3),
        ("net.fc2.weight", "Gemm", &[64, 64], 0.3, 1e-3),
        ("net.small.weight", "MatMul", &[4, 4], 1e-9, 2.0),
    ];
    c.gradients = rows.iter().map(|row| gradient(row, 2)).collect();
    c.gradient_source = GradientSource::File;
    c.agreement = c.gradients.iter().map(agreement).collect();
    let wrong = &mut c.agreement[2];
    wrong.difference = around(0.05, 1e-9);
    wrong.enclosures_meet = false;
    wrong.wrong_node = Some(WrongNode {
        node: text("/net/relu/Relu_Grad/ReluGrad_0"),
        op: text("com.microsoft::ReluGrad"),
        tensor: text("fc1_out_grad"),
    });
    c.model.files = vec![ModelFile { role: text("weights"), file: text("checkpoint"), sha256: c.model.sha256.clone() }];
    // The exact gradient of a bias before a batch normalisation is 0, but not known to be.
    let zero = &mut c.gradients[1];
    zero.spec_norm = Enclosure::of(0.0, 1e-60);
    zero.max_abs = Num::of(3e-9);
    zero.observed = Enclosure::of(3e-9, 3e-9);
    zero.bounds = Bounds::default();
    zero.bound(Rung::Portable, Mag::INFINITY, Some(zero.observed));
    zero.bound(Rung::Direct, Mag::of(3e-9), Some(zero.observed));
    furnish(&mut c);
    // The forward nodes of this model.
    c.model.file = text("net.onnx");
    c.forward.truncate(7);
    let nodes = ["conv1/Conv", "relu1/Relu", "fc1/Gemm", "relu2/Relu", "fc2/Gemm", "small/MatMul", "loss/ReduceMean"];
    for (k, node) in nodes.iter().enumerate() {
        c.forward[k].node = format!("/net/{node}");
        c.forward[k].op = node.split('/').next_back().map_or_else(String::new, text);
        c.forward[k].inputs = nodes[..k].last().map(|n| format!("/net/{n}")).into_iter().collect();
    }
    c.inputs.source = InputSource::Synthetic;
    c.inputs.file = None;
    c.inputs.random_seed = Some(text("18446744073709551615"));
    c.exact_pass.capped = true;
    c.decide(Limits::default()).expect("the figures are consistent");
    c
}

/// A model two of whose gradients are beyond their limits, on given inputs.
pub(crate) fn failing() -> Certificate {
    let mut c = empty();
    let row = |(i, row): (usize, &Row)| {
        let mut row = *row;
        if row.0.starts_with("classifier.1") {
            row.4 = 4.2e-2 * (i + 1) as f64;
        }
        gradient(&row, (7 - i) / 2)
    };
    c.gradients = ROWS.iter().enumerate().map(row).collect();
    furnish(&mut c);
    c.decide(Limits::default()).expect("the figures are consistent");
    c
}

/// A certified model of n layers, each with a weight and a bias.
pub(crate) fn deep(n: usize) -> Certificate {
    let mut c = empty();
    c.gradients = (0..2 * n)
        .map(|k| {
            let (i, own) = (k / 2, ["weight", "bias"][k % 2]);
            let mut g = gradient(&ROWS[k % 6], (n - 1 - i).min(9));
            g.name = format!("encoder.layers.{i}.self_attention.{own}");
            g.layer = format!("encoder.layers.{i}.self_attention");
            g
        })
        .collect();
    furnish(&mut c);
    // An operator with parameters, and one without.
    c.forward = (0..2 * n)
        .map(|k| {
            let mut l = c.forward[k % 2].clone();
            l.node = format!("/encoder/layers.{}/self_attention/{}", k / 2, l.op);
            let parameters = ["weight", "bias"].map(|own| format!("encoder.layers.{}.self_attention.{own}", k / 2));
            l.onnx.outputs = vec![format!("{}_output_0", l.node)];
            l.onnx.inputs = if k % 2 == 0 { parameters.to_vec() } else { Vec::new() };
            l.inputs = Vec::new();
            l
        })
        .collect();
    for k in 0..2 * n {
        // Every tenth node reads one further up as well.
        let reads = if k % 10 == 9 { vec![k - 1, k - 6] } else { k.checked_sub(1).into_iter().collect() };
        let outputs = reads.iter().map(|&j| c.forward[j].onnx.outputs[0].clone()).collect::<Vec<_>>();
        c.forward[k].onnx.inputs.splice(0..0, outputs);
        c.forward[k].inputs = reads.into_iter().map(|j| c.forward[j].node.clone()).collect();
        c.gradients[k].node = c.forward[k / 2 * 2].node.clone();
        c.gradients[k].budget = Some((0..6).map(|j| part(&c.forward[(k + 7 * j) % (2 * n)], j)).collect());
    }
    c.decide(Limits::default()).expect("the figures are consistent");
    c
}

/// The j-th largest part of an error.
fn part(l: &ForwardLayer, j: usize) -> Contribution {
    Contribution {
        node: l.node.clone(),
        op: l.op.clone(),
        pass: text(["forward", "backward"][j % 2]),
        error: Num::of(1.237e-9 / (1 + j) as f64),
        share: Num::of(0.4 / (1 + j) as f64),
    }
}

/// Names that try to be markup, to reverse the text or to run off the page.
pub(crate) fn hostile() -> Certificate {
    let mut c = certified();
    let names = [
        "<script>alert(1)</script>".to_string(),
        "\"><img src=x onerror=alert(2)>".into(),
        "a\u{202e}thgiew".into(),
        "x".repeat(4096),
        "👩‍🔬 ünïcode '&amp;".into(),
        "</style></title></svg>".into(),
        "\u{1b}[31mred\r\n".into(),
        "{{ gradients }} {% raw %}".into(),
    ];
    for (g, name) in c.gradients.iter_mut().zip(names) {
        g.layer = name.clone();
        g.node = name.clone();
        g.op = name.clone();
        g.name = name;
    }
    let bad = "<script>alert('file')</script>";
    c.model.file = text(bad);
    c.model.producer = text(bad);
    c.inputs.file = Some(text(bad));
    c.forward[0].node = text(bad);
    let o = &mut c.forward[0].onnx;
    (o.domain, o.inputs, o.outputs) = (text(bad), vec![text(bad), String::new()], vec![text(bad)]);
    o.attributes = vec![NodeAttribute { name: text(bad), kind: text(bad), value: text(bad) }];
    c.gradients[0].node = text(bad);
    c.outputs[0].name = text(bad);
    c.loss[0].output = text(bad);
    c.seed[0].output = text(bad);
    c.reproduce = vec![text(bad)];
    c.warnings = vec![text(bad)];
    c.decision_rule.limits = vec![LimitRule {
        pattern: text(bad),
        max_rel: Num::new(1e-4),
        max_abs: Num::new(1e-3),
        min_correct_digits: Num::new(3.0),
        max_undecided_gates: Some(7),
        forbid_vacuous: Some(true),
        require_rung: Some(Rung::Portable),
    }];
    c.decision_rule.waivers = vec![Waiver { pattern: text(bad), reason: text(bad), expires: text("2026-12-31") }];
    c.decision_rule.waivers_judged_on = Some(text("2026-01-31"));
    c.gradients[0].breaches = vec![text(bad)];
    c.gradients[0].waiver = Some(text(bad));
    c.seal();
    c
}
