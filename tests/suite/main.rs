//! The one integration test binary: linking MPFR and tract is slow.

mod corpus;
mod decode;
mod exact;
mod gradients;
mod models;
mod node_tests;
