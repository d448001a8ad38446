//! The chain: derivative first, absolute value last.
//!
//! Let e_v be the error of this run at a value (or cotangent) v, and J the Jacobian of the operation
//! that made it, in binary64, at this run's operands. Define ζ_v = e_v − J·e_operands: what v's own
//! operation added, rounding and second order together. The enclosures give every e, so ζ is measured,
//! not estimated. Then, exactly,
//!
//! > e_g = Σ_v G_{g,v}·ζ_v   (a telescoping sum; G = products of J along all paths to g)
//!
//! and for any m_v ≥ |ζ_v|: |e_g| ≤ Σ_v |G_{g,v}|·m_v. Nothing is linearised away, whatever the gates
//! do, and no absolute value is taken before the end, so that depth costs little.
//!
//! * `chain_run` takes m = |ζ|; `chain_schedule` m = max(local bound of the operation, |ζ|).
//! * `chain_portable` speaks of any conforming run R in place of this one: e = R − S, the same J at this run's
//!   values, and |ζ_v| at most what R may round there plus what J misses between R and S ([`portable`]).
//! * *Exact*: one column per entry that rounds. The columns' own binary64 rounding is bounded by
//!   [`majorant`], and part of m ([`columns`]).
//! * *Probes*: one random draw per entry, Cauchy for the sum of magnitudes, normal for the
//!   root of the sum of squares; statistical ([`probes`]). For every run they leave out what J misses, which
//!   needs E everywhere: first order.
//! * *Budget*: the signed ζ of one operation at a time; the parts add up to the true error.

pub mod budget;
pub mod columns;
pub mod jet;
pub mod majorant;
mod onward;
pub mod portable;
pub mod probes;
mod products;
pub mod propagate;
pub mod remainder;
pub mod sources;

pub use columns::exact_chain;
pub use probes::{Probes, probe, spread};
pub use propagate::Moves;
pub use sources::{Site, Sources};
