//! The one integration test binary: linking MPFR and tract is slow.

mod chain;
mod cli;
#[cfg(unix)]
mod browser;
mod corpus;
mod crosscheck;
mod decode;
mod gate;
mod gradients;
mod laws;
mod models;
mod node_tests;
#[cfg(unix)]
mod webdriver;
