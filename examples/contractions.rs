//! Time of a multiply–add of a matrix product of balls, in MPFR alone and sliced.
//!
//! `cargo run --release --example contractions [N] [BITS]`: A of binary32 weights, B of balls of full
//! precision, both N×N.

use certify::num::{Arith, Ball, Balls, Mag};
use std::time::Instant;

/// The tool's own allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let arg = |i: usize, default: usize| std::env::args().nth(i).map_or(default, |s| s.parse().expect("a number"));
    let (n, bits) = (arg(1, 512), arg(2, 128) as u32);
    let mut state = 1u64;
    let mut unit = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    let a: Vec<Ball> = (0..n * n).map(|_| Ball::exact(f64::from((unit() + unit() + unit()) as f32))).collect();
    let balls = Balls::new(bits);
    let third = balls.div(&Ball::exact(1.0), &Ball::exact(3.0));
    let b: Vec<Ball> = (0..n * n).map(|_| balls.mul(&third, &Ball::exact(unit()))).collect();
    let run = |balls: &Balls, rows: usize| {
        let start = Instant::now();
        let c = balls.products((rows, n, n), |i, l| Some(&a[i * n + l]), |l, j| Some(&b[l * n + j]), |_, _| None);
        let ns = start.elapsed().as_secs_f64() * 1e9 / (rows * n * n) as f64;
        let widest = c.iter().fold(Mag::ZERO, |m, b| m.max(b.rad));
        (ns, widest.get())
    };
    // a few rows are enough for MPFR
    let (scalar, wide) = run(&Balls::scalar(bits), 8.min(n));
    println!("n = {n}, {bits} bits, {} threads", rayon::current_num_threads());
    println!("scalar {scalar:8.3} ns, radii up to {wide:.2e}");
    for _ in 0..5 {
        let (sliced, wide) = run(&balls, n);
        println!("sliced {sliced:8.3} ns, radii up to {wide:.2e}, {:.0} times faster", scalar / sliced);
    }
}
