//! The integration tests, in one binary: linking MPFR and tract is slow.

mod laws;
