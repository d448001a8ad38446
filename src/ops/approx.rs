//! What a bound rule may know of a value, and what it answers.

use crate::num::format::u;
use crate::num::{Interval, Mag};

/// Which runs a bound covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Centre {
    /// This very run: |run − spec| ≤ eps, and the run's values are known.
    Run,
    /// Every conforming run R: |R − spec| ≤ eps, and the spec's values are known.
    Spec,
}

/// A value of the graph (or a cotangent): what this run computed, where the spec's value lies, and how
/// far a covered run may be from it.
#[derive(Clone, Copy, Debug)]
pub struct Approx<'a> {
    /// Shape of the value.
    pub shape: &'a [usize],
    /// Values of this run.
    pub run: &'a [f32],
    /// Enclosures of the spec's values.
    pub spec: &'a [Interval],
    /// Bounds on |R − spec| for every covered run R; empty for the result of the rule at hand.
    pub eps: &'a [Mag],
    /// Which runs are covered.
    pub centre: Centre,
    /// Is the local part of the bound measured elsewhere? Then any that is cheap will do.
    pub measured: bool,
    /// The spec's branch at every gate of the node that made this value (see [`super::Op::gates`]);
    /// empty where there is none.
    pub gates: &'a [u32],
}

/// The enclosures could not tell the spec's branch.
pub const UNKNOWN_GATE: u32 = u32::MAX;

impl Approx<'_> {
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.run.len()
    }

    /// Length of the last dimension.
    pub fn row_len(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Does the bound cover this run only?
    pub fn run_only(&self) -> bool {
        self.centre == Centre::Run
    }

    /// Is the local part of a bound of this run asked for?
    pub fn replayed(&self) -> bool {
        self.run_only() && !self.measured
    }

    /// Bound on the centre: |x̂| of this run, or |x_S|.
    #[inline(always)]
    pub fn mag(&self, i: usize) -> Mag {
        match self.centre {
            Centre::Run => Mag::of_f32(self.run[i]),
            Centre::Spec => self.spec[i].mag(),
        }
    }

    /// Bound on the value of every covered run: |x̂|, or |x_S| + eps.
    #[inline(always)]
    pub fn run_mag(&self, i: usize) -> Mag {
        match self.centre {
            Centre::Run => Mag::of_f32(self.run[i]),
            Centre::Spec => self.spec[i].mag() + self.eps[i],
        }
    }

    /// An interval around the centre: the point x̂, or the enclosure of x_S.
    #[inline(always)]
    pub fn centre(&self, i: usize) -> Interval {
        match self.centre {
            Centre::Run => Interval::point(f64::from(self.run[i])),
            Centre::Spec => self.spec[i],
        }
    }

    /// An interval that holds the spec's value and that of every covered run.
    #[inline(always)]
    pub fn hull(&self, i: usize) -> Interval {
        match self.centre {
            // What is known of the spec: its enclosure, and that it lies within eps of the run.
            Centre::Run => {
                let x = Interval::point(f64::from(self.run[i]));
                self.spec[i].meet(x.widen(self.eps[i])).hull(x)
            }
            Centre::Spec => self.spec[i].widen(self.eps[i]),
        }
    }

    /// [`Approx::mag`] of all entries.
    pub fn mags(&self) -> Vec<Mag> {
        super::map(self.len(), |i| self.mag(i))
    }

    /// [`Approx::run_mag`] of all entries.
    pub fn run_mags(&self) -> Vec<Mag> {
        super::map(self.len(), |i| self.run_mag(i))
    }

    /// Is nothing carried, because every covered run has the spec's exact values?
    pub fn is_exact(&self) -> bool {
        self.eps.iter().all(|e| e.is_zero())
    }

    /// Rounding of a sum or difference, whose exact value before rounding is this (result) entry plus
    /// what was carried: u·|x|, no underflow term.
    // |fl(s) − s| ≤ u·|s|, and ≤ u·|fl(s)| (Higham, Accuracy and Stability, Thm 2.2, 2.3)
    #[inline(always)]
    pub fn sum_rounding(&self, i: usize, carried: Mag) -> Mag {
        match self.centre {
            Centre::Run => u() * Mag::of_f32(self.run[i]),
            Centre::Spec => u() * (self.spec[i].mag() + carried),
        }
    }
}

/// Error bound of every entry of a value, in two parts whose sum counts.
#[derive(Clone, Debug)]
pub struct Bound {
    /// What the operands' errors cause.
    pub carried: Vec<Mag>,
    /// What this node's own roundings cause.
    pub local: Vec<Mag>,
    /// Bound on every intermediate of every covered run, in any order; none may overflow.
    pub peak: Mag,
}

impl Bound {
    /// Nothing rounds here.
    pub fn exact(carried: Vec<Mag>) -> Bound {
        let local = vec![Mag::ZERO; carried.len()];
        Bound { carried, local, peak: Mag::ZERO }
    }

    /// From pairs (carried, local).
    pub fn of_pairs(pairs: Vec<(Mag, Mag)>) -> Bound {
        let (carried, local) = pairs.into_iter().unzip();
        Bound { carried, local, peak: Mag::ZERO }
    }

    /// The same, with a bound on intermediates.
    pub fn with_peak(self, peak: Mag) -> Bound {
        Bound { peak: peak.max(self.peak), ..self }
    }

    /// carried + local, per entry.
    pub fn total(&self) -> Vec<Mag> {
        super::map(self.carried.len(), |i| self.carried[i] + self.local[i])
    }
}
