//! certify proves how far a model's binary32 gradients are from the true ones.

pub mod adversary;
pub mod bounds;
pub mod certificate;
pub mod chain;
pub mod cli;
pub mod data;
pub mod error;
pub mod gate;
pub mod import;
pub mod ir;
pub mod limits;
pub mod link;
pub mod num;
pub mod ops;
pub mod output;
pub mod report;
pub mod runtime;
pub mod scale;
pub mod seed;
pub mod session;
pub mod spec;
