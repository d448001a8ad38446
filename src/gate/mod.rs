//! The release gate: checks gradients that another runtime produced, verifies certificates, compares
//! releases, and speaks the formats of release machinery.
//!
//! Everything here decides by the rule of [`crate::certificate`]: pass iff the upper end of the observed
//! error is at most the limit, fail iff the lower end exceeds it, else undecided.

pub mod cause;
pub mod check;
pub mod compare;
pub mod constants;
pub mod diff;
mod evidence;
mod expected;
pub mod layers;
pub mod outputs;
pub mod policy;
pub mod samples;
pub mod tensors;
pub mod verify;

pub use check::{Checked, check};
pub use constants::Constants;
pub use tensors::{Given, Rename};
