//! The one integration test binary: linking MPFR and tract is slow.

mod corpus;
mod decode;
mod gradients;
mod node_tests;
