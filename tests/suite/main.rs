//! The one integration test binary: linking MPFR and tract is slow.

mod cli;
mod corpus;
mod crosscheck;
mod decode;
mod gradients;
mod kinds;
mod laws;
mod models;
mod node_tests;
