//! `certify diff OLD NEW`: what changed from one certificate to the next, and whether it got worse.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::certificate::{Certificate, Gradient, ModelVerdict, Num, Status};

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Where: a parameter, an operator, or `model`.
    pub what: String,
    /// What changed, with both figures.
    pub text: String,
    /// More than what is allowed, in the wrong direction.
    pub worse: bool,
}

/// All changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// Digest of the earlier certificate.
    pub old: Option<String>,
    /// Digest of the later one.
    pub new: Option<String>,
    /// What got worse first, then in the order of the model.
    pub changes: Vec<Change>,
}

impl Difference {
    /// Did something get worse than is allowed?
    pub fn worse(&self) -> bool {
        self.changes.iter().any(|c| c.worse)
    }
}

/// Compares two certificates. A gradient may lose `allow` correct digits, and its tolerance may grow by
/// 10 to that power; a verdict may never get worse, and no gradient may vanish.
pub fn diff(old: &Certificate, new: &Certificate, allow: f64) -> Difference {
    let mut all = Vec::new();
    let change = |what: &str, text: String, worse: bool| Change { what: what.into(), text, worse };
    let rank = |v: ModelVerdict| match v {
        ModelVerdict::Certified => 0,
        ModelVerdict::Undecided => 1,
        ModelVerdict::NotCertified => 2,
    };
    if old.verdict != new.verdict {
        let worse = rank(new.verdict) > rank(old.verdict);
        all.push(change("model", format!("verdict {:?} → {:?}", old.verdict, new.verdict), worse));
    }
    let mut identity = |name: &str, a: &str, b: &str| {
        if a != b {
            all.push(change("model", format!("{name} {a} → {b}"), false));
        }
    };
    identity("SHA-256", &old.model.sha256, &new.model.sha256);
    identity("SHA-256 of the inputs", &old.inputs.sha256, &new.inputs.sha256);
    identity("producer", &old.model.producer, &new.model.producer);
    identity("policy", &old.decision_rule.policy, &new.decision_rule.policy);
    identity("version of certify", &old.tool.version, &new.tool.version);
    identity("number of parameters", &old.model.parameters.to_string(), &new.model.parameters.to_string());
    for (op, a, b) in operators(old, new) {
        all.push(change(&op, format!("{a} → {b} ONNX nodes of this operator"), false));
    }
    for w in new.warnings.iter().filter(|w| !old.warnings.contains(w)) {
        all.push(change("model", format!("new warning: {w}"), false));
    }
    let later: BTreeMap<&str, &Gradient> = new.gradients.iter().map(|g| (g.name.as_str(), g)).collect();
    let earlier: BTreeSet<&str> = old.gradients.iter().map(|g| g.name.as_str()).collect();
    for o in &old.gradients {
        match later.get(o.name.as_str()) {
            None => all.push(change(&o.name, "is gone".into(), true)),
            Some(n) => all.extend(gradient(o, n, allow)),
        }
    }
    for n in new.gradients.iter().filter(|g| !earlier.contains(g.name.as_str())) {
        let bad = n.verdict != Status::Pass && n.waiver.is_none();
        all.push(Change {
            what: n.name.clone(),
            text: format!("is new: {:?}, {} correct digits", n.verdict, n.correct_digits.get()),
            worse: bad,
        });
    }
    all.sort_by_key(|c| !c.worse);
    Difference { old: old.digest.clone(), new: new.digest.clone(), changes: all }
}

fn gradient(o: &Gradient, n: &Gradient, allow: f64) -> Vec<Change> {
    let mut all = Vec::new();
    let mut say = |text: String, worse: bool| all.push(Change { what: o.name.clone(), text, worse });
    let rank = |s: Status| match s {
        Status::Pass | Status::NotApplicable => 0,
        Status::Undecided => 1,
        Status::Fail => 2,
    };
    if o.verdict != n.verdict {
        say(format!("verdict {:?} → {:?}", o.verdict, n.verdict), rank(n.verdict) > rank(o.verdict));
    }
    if o.shape != n.shape {
        say(format!("shape {:?} → {:?}", o.shape, n.shape), false);
    }
    if (&o.op, &o.node) != (&n.op, &n.node) {
        say(format!("read by {} \"{}\" → {} \"{}\"", o.op, o.node, n.op, n.node), false);
    }
    let (a, b) = (o.correct_digits.get(), n.correct_digits.get());
    if a != b {
        // digits are multiples of 0.1
        say(format!("{a} → {b} correct digits"), a - b > allow + 1e-9);
    }
    let grown = |a: Option<Num>, b: Option<Num>| match (a, b) {
        (Some(a), Some(b)) => b.get() > a.get() * 10f64.powf(allow),
        (Some(_), None) => true,
        _ => false,
    };
    let (a, b) = (&o.tolerance, &n.tolerance);
    if a.atol != b.atol || a.covers != b.covers {
        let show = |x: Option<Num>| x.map_or_else(|| "none".into(), |x| format!("{:.3e}", x.get()));
        // A tolerance for fewer runs isn't comparable; to lose the one for other runtimes is a loss.
        let lost = a.covers == Some(crate::certificate::Covers::EveryConformingRun) && a.covers != b.covers;
        say(
            format!("tolerance {} → {}", show(a.atol), show(b.atol)),
            lost || (a.covers == b.covers && grown(a.rtol, b.rtol)),
        );
    }
    for w in n.warnings.iter().filter(|w| !o.warnings.contains(w)) {
        say(format!("new warning: {w}"), false);
    }
    all
}

/// Operators whose numbers of nodes differ.
fn operators(old: &Certificate, new: &Certificate) -> Vec<(String, usize, usize)> {
    let count = |c: &Certificate| {
        let mut all: BTreeMap<String, usize> = BTreeMap::new();
        c.forward.iter().for_each(|l| *all.entry(l.op.clone()).or_default() += 1);
        all
    };
    let (a, b) = (count(old), count(new));
    let ops: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let number = |all: &BTreeMap<String, usize>, op: &str| all.get(op).copied().unwrap_or(0);
    let pairs = ops.into_iter().map(|op| (op.clone(), number(&a, op), number(&b, op)));
    pairs.filter(|(_, a, b)| a != b).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::{Enclosure, Limits, example};

    #[test]
    fn the_same_certificate_has_not_changed() {
        let c = example::certified();
        let d = diff(&c, &c, 0.0);
        assert!(d.changes.is_empty() && !d.worse());
    }

    #[test]
    fn what_got_worse_is_told_and_what_got_better_does_no_harm() {
        let old = example::certified();
        let mut new = old.clone();
        let o = new.gradients[2].observed;
        new.gradients[2].observed = Enclosure::of(o.lo() * 10.0, o.hi() * 10.0);
        new.gradients[2].bounds = crate::certificate::Bounds::default();
        new.decide(Limits::default()).unwrap();
        let d = diff(&old, &new, 0.0);
        assert!(d.worse() && d.changes[0].what == new.gradients[2].name, "{d:#?}");
        assert!(d.changes.iter().any(|c| c.worse && c.text.contains("correct digits")));
        assert!(d.changes.iter().any(|c| c.worse && c.text.starts_with("tolerance")));
        // The other way round nothing is worse.
        assert!(!diff(&new, &old, 0.0).worse());
        // A digit may be lost where it is allowed; the tolerance for other runtimes may not.
        assert!(!diff(&old, &new, 1.1).changes.iter().any(|c| c.worse && c.text.contains("correct digits")));
    }

    #[test]
    fn vanished_gradients_and_failing_new_ones_are_worse() {
        let old = example::certified();
        let mut new = old.clone();
        let gone = new.gradients.remove(1);
        assert!(diff(&old, &new, 9.0).changes.iter().any(|c| c.worse && c.what == gone.name));
        assert!(!diff(&new, &old, 9.0).worse(), "a new gradient that passes is fine");
        let mut failing = old.clone();
        failing.gradients[1].verdict = Status::Fail;
        assert!(diff(&new, &failing, 9.0).worse());
        let mut replaced = old.clone();
        let at = old.forward.iter().position(|l| l.op == "Relu").expect("the example has one");
        let relus = old.forward.iter().filter(|l| l.op == "Relu").count();
        replaced.forward[at].op = "Gelu".into();
        let text: Vec<String> =
            diff(&old, &replaced, 0.0).changes.into_iter().map(|c| format!("{} {}", c.what, c.text)).collect();
        let fewer = format!("Relu {relus} → {} ONNX nodes of this operator", relus - 1);
        assert_eq!(text, ["Gelu 0 → 1 ONNX nodes of this operator", fewer.as_str()]);
    }
}
