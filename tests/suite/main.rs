//! The one integration test binary: linking MPFR and tract is slow.

#[cfg(unix)]
mod browser;
mod corpus;
mod decode;
mod gradients;
mod models;
mod node_tests;
#[cfg(unix)]
mod webdriver;
