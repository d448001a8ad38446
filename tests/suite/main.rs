//! The one integration test binary: linking MPFR and tract is slow.

mod corpus;
mod crosscheck;
mod decode;
mod gradients;
mod models;
mod node_tests;
