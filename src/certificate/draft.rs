//! Beginning a certificate: figures are given here, what follows from them is left to `decide`.

use super::number::{Enclosure, Num};
use super::rungs::{Bound, Bounds, Rung, quotient_up};
use super::schema::*;
use crate::num::Mag;

impl Certificate {
    /// A certificate without gradients; fill the public fields, then call `decide`.
    pub fn new(model: Model, inputs: Inputs, rounding: RoundingModel, exact: ExactPass, env: Environment) -> Self {
        Certificate {
            schema: SCHEMA.into(),
            digest: None,
            verdict: ModelVerdict::Undecided,
            decision_rule: DecisionRule { policy: "default".into(), ..DecisionRule::default() },
            summary: Summary::default(),
            model,
            inputs,
            seed: Vec::new(),
            loss: Vec::new(),
            tool: Tool { name: "certify".into(), version: env!("CARGO_PKG_VERSION").into() },
            date: None,
            rounding_model: rounding,
            exact_pass: exact,
            graph: GraphSize::default(),
            region: None,
            adversary: None,
            gradient_source: GradientSource::Derived,
            gradients: Vec::new(),
            agreement: Vec::new(),
            forward: Vec::new(),
            outputs: Vec::new(),
            gates: Gates::default(),
            checklist: Vec::new(),
            checks: Vec::new(),
            assumptions: Vec::new(),
            rules: Vec::new(),
            warnings: Vec::new(),
            notes: Vec::new(),
            environment: env,
            reproduce: Vec::new(),
        }
    }
}

impl RegionTolerance {
    /// The bound `abs` over a region, for a gradient whose ∞-norm at the given inputs is `norm`.
    pub fn new(abs: Mag, norm: Enclosure) -> RegionTolerance {
        let atol = Num::new(abs.get());
        RegionTolerance {
            atol,
            atol_hex: atol.map(Num::hex),
            rtol: quotient_up(abs, norm.lo()),
            vacuous: !abs.is_zero() && abs.get() >= norm.lo(),
        }
    }
}

impl Reached {
    /// An error that an adversary reached, beside the portable bound of the same gradient.
    pub fn new(error: f64, portable: Option<&Bound>) -> Reached {
        let abs = portable.and_then(|b| b.abs);
        Reached { error: Num::of(error), factor: abs.and_then(|a| quotient_up(Mag::of(a.get()), error)) }
    }
}

impl Gradient {
    /// The gradient of parameter `name`, in the layer `layer`, which the ONNX node `node` of operator
    /// `op` reads. `max_abs` is the largest magnitude in this run; `spec_norm` encloses that of the
    /// exact gradient, `observed` the largest |runtime − spec|.
    pub fn new(name: &str, layer: &str, op: &str, node: &str, shape: &[usize], figures: Figures) -> Gradient {
        Gradient {
            name: name.into(),
            layer: layer.into(),
            op: op.into(),
            node: node.into(),
            shape: shape.iter().map(|&n| n as u64).collect(),
            max_abs: Num::of(figures.max_abs),
            spec_norm: figures.spec_norm,
            observed: figures.observed,
            observed_rel: None,
            bounds: Bounds::default(),
            scale: None,
            region_scale: None,
            region_tolerance: None,
            adversary: None,
            tolerance: Tolerance::default(),
            detection: Detection::default(),
            correct_digits: Num::ZERO,
            lost_entries: None,
            undecided_gates: 0,
            limit: Num::ZERO,
            margin: None,
            verdict: Status::Undecided,
            breaches: Vec::new(),
            waiver: None,
            warnings: Vec::new(),
            worst: None,
            terms: None,
            histogram: None,
            budget: None,
        }
    }

    /// Puts a bound on its rung; `observed` is the error of the run which that rung covers.
    pub fn bound(&mut self, rung: Rung, abs: Mag, observed: Option<Enclosure>) {
        self.bounds.set(rung, Bound::new(rung, abs, self.spec_norm, observed));
    }
}

impl ForwardLayer {
    /// The value of ONNX node `node` of operator `op`; `inputs`, gates and bounds are added
    /// afterwards.
    pub fn new(node: &str, op: &str, shape: &[usize], figures: Figures) -> ForwardLayer {
        ForwardLayer {
            node: node.into(),
            op: op.into(),
            onnx: OnnxNode::default(),
            inputs: Vec::new(),
            shape: shape.iter().map(|&n| n as u64).collect(),
            max_abs: Num::of(figures.max_abs),
            spec_norm: figures.spec_norm,
            observed: figures.observed,
            correct_digits: Num::ZERO,
            bounds: Bounds::default(),
            gates: Gates::default(),
            undecided: Vec::new(),
        }
    }

    /// Puts a bound on its rung; `observed` is the error of the run which that rung covers.
    pub fn bound(&mut self, rung: Rung, abs: Mag, observed: Option<Enclosure>) {
        self.bounds.set(rung, Bound::new(rung, abs, self.spec_norm, observed));
    }
}

impl Output {
    /// The output `name` of the graph; bounds are added afterwards.
    pub fn new(name: &str, shape: &[usize], figures: Figures) -> Output {
        Output {
            name: name.into(),
            shape: shape.iter().map(|&n| n as u64).collect(),
            max_abs: Num::of(figures.max_abs),
            spec_norm: figures.spec_norm,
            observed: figures.observed,
            bounds: Bounds::default(),
        }
    }

    /// Puts a bound on its rung; `observed` is the error of the run which that rung covers.
    pub fn bound(&mut self, rung: Rung, abs: Mag, observed: Option<Enclosure>) {
        self.bounds.set(rung, Bound::new(rung, abs, self.spec_norm, observed));
    }
}

/// The figures that every tensor has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Largest magnitude of an entry in this run.
    pub max_abs: f64,
    /// Encloses the largest magnitude of an entry of the exact tensor.
    pub spec_norm: Enclosure,
    /// Encloses the largest |runtime − spec| of an entry.
    pub observed: Enclosure,
}

impl Default for RoundingModel {
    /// binary32, to nearest, gradual underflow; reductions and elementary functions are the caller's.
    fn default() -> RoundingModel {
        use super::number::Exact;
        RoundingModel {
            format: "binary32".into(),
            precision_bits: 24,
            u: Exact(Num::of(Mag::exp2(-24).get())),
            eta: Exact(Num::of(Mag::exp2(-149).get())),
            largest: Exact(Num::of(f32::MAX.into())),
            rounding: "to nearest, ties to even".into(),
            subnormals: "gradual underflow; nothing is flushed to zero".into(),
            reductions: Vec::new(),
            elementary: Vec::new(),
        }
    }
}
