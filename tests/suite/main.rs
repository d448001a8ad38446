//! The one integration test binary: linking MPFR and tract is slow.

mod adversary;
#[cfg(unix)]
mod browser;
mod chain;
mod cli;
mod corpus;
mod crosscheck;
mod decode;
mod exact;
mod gate;
mod gradients;
mod kinds;
mod laws;
mod looseness;
mod models;
mod node_tests;
mod odd;
#[cfg(unix)]
mod webdriver;
