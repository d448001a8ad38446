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
#[cfg(unix)]
mod firefox;
mod gate;
mod gradients;
mod hostile;
mod kinds;
mod laws;
mod looseness;
#[cfg(unix)]
mod lost_work;
mod models;
mod mutations;
mod node_tests;
mod odd;
mod samples;
mod schemas;
mod supply;
#[cfg(unix)]
mod webdriver;
