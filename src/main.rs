//! The command line tool; everything is in the library.

use std::process::ExitCode;

/// Large tensors come and go in every pass: pages that are kept are not zeroed and mapped anew each time. It
/// serves MPFR's numbers as well.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    certify::cli::main()
}
