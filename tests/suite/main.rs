//! The one integration test binary: linking MPFR and tract is slow.

mod corpus;
mod decode;
mod gradients;
mod laws;
mod models;
mod node_tests;
