//! Sliced products against scalar balls and 4000 bits.

use super::plan::{Line, Plan};
use super::{digits, products, total::Total};
use crate::num::{Arith, Ball, Balls, Mag};
use proptest::prelude::*;
use rug::Float;

const WIDE: u32 = 4000;

/// A generator that gives the same numbers everywhere.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 11) ^ (self.0 >> 43)
    }
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    /// In (−1, 1).
    fn unit(&mut self) -> f64 {
        (self.below(1 << 40) as f64 / (1u64 << 39) as f64) - 1.0
    }
    fn full(&mut self, prec: u32) -> Float {
        let mut x = Float::with_val(prec, self.unit());
        for i in 1..=prec / 40 {
            x += Float::with_val(prec, self.unit()) >> (40 * i);
        }
        x
    }
}

/// What a factor is filled with.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Zero,
    Weights,
    Integers,
    Full,
    FullWithRadius,
    Mixed,
    WideRange,
    Subnormal,
    Far,
    Broken,
}
use Kind::*;

fn ball(kind: Kind, d: &mut Draw, prec: u32) -> Ball {
    let exact = |mid: Float| Ball { mid, rad: Mag::ZERO };
    match kind {
        Zero => Ball::exact(0.0),
        Weights => Ball::exact(f64::from(d.unit() as f32)),
        Integers => Ball::exact(d.below(7) as f64 - 3.0),
        Full => exact(d.full(prec)),
        FullWithRadius => Ball { mid: d.full(prec), rad: Mag::exp2(-(d.below(200) as i64)) },
        Mixed => {
            let kind = [Zero, Weights, Integers, Full, FullWithRadius][d.below(5) as usize];
            ball(kind, d, prec)
        }
        WideRange => {
            let shift = d.below(3000) as i32 - 1500;
            let mut b = ball(Mixed, d, prec);
            b.mid <<= shift;
            b
        }
        Subnormal => Ball { mid: Float::with_val(53, f64::from_bits(d.below(1 << 50))), rad: Mag::exp2(-1074) },
        Far => exact(d.full(prec) << ((1 << 28) + 8)),
        Broken => match d.below(40) {
            0 => Ball { mid: d.full(prec), rad: Mag::INFINITY },
            1 => Ball { mid: Float::with_val(prec, rug::float::Special::Infinity), rad: Mag::INFINITY },
            2 => Ball { mid: Float::with_val(prec, rug::float::Special::Nan), rad: Mag::INFINITY },
            _ => ball(Mixed, d, prec),
        },
    }
}

fn matrix(kind: Kind, d: &mut Draw, prec: u32, len: usize) -> Vec<Option<Ball>> {
    (0..len).map(|_| if d.below(16) == 0 { None } else { Some(ball(kind, d, prec)) }).collect()
}

/// A point of a ball.
fn point(b: &Ball, d: &mut Draw) -> Float {
    let t = [-1.0, 1.0, d.unit()][d.below(3) as usize];
    Float::with_val(WIDE, &b.mid + Float::with_val(WIDE, b.rad.get()) * t)
}

/// Both paths; every entry overlaps, holds what 4000 bits say of points of the operands, and is as
/// exact as can be. Returns the sliced one.
fn check(
    prec: u32,
    (m, n, k): (usize, usize, usize),
    a: &[Option<Ball>],
    b: &[Option<Ball>],
    c: &[Option<Ball>],
    d: &mut Draw,
) -> Vec<Ball> {
    let left = |i: usize, l: usize| a[i * k + l].as_ref();
    let right = |l: usize, j: usize| b[l * n + j].as_ref();
    let bias = |i: usize, j: usize| c.get(i * n + j).and_then(Option::as_ref);
    let sliced = products(&Balls::new(prec), (m, n, k), left, right, bias);
    let scalar = Balls::scalar(prec).products((m, n, k), left, right, bias);
    let finite = |x: &Option<Ball>| x.as_ref().is_none_or(|b| b.rad.is_finite() && b.mid.is_finite());
    for (e, (s, t)) in sliced.iter().zip(&scalar).enumerate() {
        let (i, j) = (e / n, e % n);
        let all = (0..k).all(|l| finite(&a[i * k + l]) && finite(&b[l * n + j])) && c.get(e).is_none_or(finite);
        if !all {
            assert_eq!(s.rad.is_finite(), t.rad.is_finite(), "entry ({i}, {j})");
            continue;
        }
        assert!(s.overlaps(t), "entry ({i}, {j}): {s:?} and {t:?}");
        let mut sum = Float::with_val(WIDE, 0);
        // what the scalar path would have to add for its roundings, with row and column maxima
        let (mut carried, mut row, mut column) = (Mag::ZERO, Mag::ZERO, Mag::ZERO);
        for l in 0..k {
            let (x, y) = (left(i, l), right(l, j));
            row = row.max(x.map_or(Mag::ZERO, Ball::mag));
            column = column.max(y.map_or(Mag::ZERO, Ball::mag));
            if let Some((x, y)) = x.zip(y) {
                sum += point(x, d) * point(y, d);
                carried += x.mag() * y.rad + x.rad * y.mag();
            }
        }
        if let Some(x) = bias(i, j) {
            sum += point(x, d);
            carried += x.rad;
            row = row.max(Mag::ONE);
            column = column.max(x.mag());
        }
        assert!(s.contains(&sum), "entry ({i}, {j}): {s:?} misses {}", sum.to_f64());
        if t.is_exact() {
            assert!(s.is_exact() && s.mid == t.mid, "entry ({i}, {j}): {s:?}, exactly {t:?}");
        }
        // a line in which something isn't exact may be cut, and what is exact in it with it
        let whole = (0..k).all(|l| [left(i, l), right(l, j)].into_iter().flatten().all(Ball::is_exact));
        // (magnitudes are binary64 numbers: a product beyond them has no radius)
        let within = (row * column).is_finite();
        if whole && within && carried.is_zero() && Float::with_val(prec, &sum) == sum {
            assert!(s.is_exact() && s.mid == sum, "entry ({i}, {j}): {s:?}, exactly {}", sum.to_f64());
        }
        // A line's top is at most twice its largest entry, and up to `most` pairs of digits and two tails are
        // left out, each at most 2^−prec of both tops; then the midpoint is rounded. Magnitudes of radii are
        // kept to 2^−500 of the largest, and of scales within 2^20 of it.
        let (most, bits) = (prec.div_ceil(17) as usize, i64::from(prec).min(digits::FLOOR - 20));
        let rounding = Mag::count(4 * (most + 2) * (k + 1)) * Mag::exp2(-bits) * row * column;
        let fair = carried * Mag::of(2.1) + rounding + Mag::exp2(-1060);
        assert!(s.rad <= fair.max(t.rad), "entry ({i}, {j}): {} above {}", s.rad.get(), fair.get());
    }
    sliced
}

fn kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![Zero, Weights, Integers, Full, FullWithRadius, Mixed, WideRange, Subnormal, Far, Broken])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn enclosures_hold_and_overlap(
        prec in prop::sample::select(vec![53u32, 64, 100, 128, 192, 256, 520]),
        m in 1usize..6, n in 1usize..6, k in 1usize..20,
        left in kind(), right in kind(), with_bias in any::<bool>(), seed in any::<u64>(),
    ) {
        let mut d = Draw(seed);
        // far exponents need more than 4000 bits beside near ones
        let (left, right) = match (left, right) {
            (Far, r) if !matches!(r, Far) => (Far, Weights),
            (l, Far) if !matches!(l, Far) => (Weights, Far),
            both => both,
        };
        let (a, b) = (matrix(left, &mut d, prec, m * k), matrix(right, &mut d, prec, k * n));
        let far = matches!(left, Far) || matches!(right, Far);
        let c = if with_bias && !far { matrix(Mixed, &mut d, prec, m * n) } else { Vec::new() };
        check(prec, (m, n, k), &a, &b, &c, &mut d);
    }

    #[test]
    fn integers_are_put_together(sums in prop::collection::vec(-(1i64 << 62)..=1 << 62, 0..40), beta in 12u32..=24) {
        let mut total = Total::default();
        total.set(sums.iter().copied(), beta);
        let mut expected = Float::with_val(WIDE, 0);
        for &s in sums.iter().rev() {
            expected <<= beta;
            expected += s;
        }
        let found = total.float(-7).map_or(Float::with_val(WIDE, 0), |f| Float::with_val(WIDE, &*f));
        prop_assert_eq!(found << 7, expected);
    }
}

#[test]
fn larger_than_a_block_and_than_a_chunk() {
    for (size, left, right) in [
        ((3, 1100, 9), Weights, Mixed),
        ((1100, 2, 5), FullWithRadius, Weights),
        ((3, 2, 9000), Weights, FullWithRadius),
        ((2, 3, 20000), Full, Mixed),
    ] {
        let (m, n, k) = size;
        let mut d = Draw(7);
        let (a, b) = (matrix(left, &mut d, 128, m * k), matrix(right, &mut d, 128, k * n));
        check(128, size, &a, &b, &[], &mut d);
    }
}

#[test]
fn total_cancellation_is_an_exact_zero() {
    // row: x, −x of weights and of full numbers; column: the same twice
    for kind in [Weights, Full] {
        let mut d = Draw(11);
        let k = 64;
        let half: Vec<Ball> = (0..k / 2).map(|_| ball(kind, &mut d, 128)).collect();
        let minus = half.iter().map(|b| Ball { mid: -b.mid.clone(), rad: b.rad });
        let a: Vec<_> = half.iter().cloned().chain(minus).map(Some).collect();
        let other: Vec<Ball> = (0..k / 2).map(|_| ball(Weights, &mut d, 128)).collect();
        let b: Vec<_> = other.iter().chain(&other).cloned().map(Some).collect();
        let c = check(128, (1, 1, k), &a, &b, &[], &mut d);
        assert!(c[0].is_zero(), "{kind:?}: {:?}", c[0]);
    }
}

#[test]
fn a_row_over_the_whole_range_of_binary64() {
    let mut d = Draw(13);
    for left_rad in [Mag::ZERO, Mag::exp2(-1074), Mag::exp2(-300)] {
        let a: Vec<_> = (0..42)
            .map(|e| Some(Ball { mid: Float::with_val(128, d.unit()) << (50 * e - 1050), rad: left_rad }))
            .collect();
        let b = matrix(FullWithRadius, &mut d, 128, 42 * 3);
        check(128, (1, 3, 42), &a, &b, &[], &mut d);
        let b = matrix(Weights, &mut d, 128, 42 * 3);
        check(128, (1, 3, 42), &a, &b, &[], &mut d);
    }
}

#[test]
fn the_fullest_digits_stay_exact() {
    // every digit of every entry is 2^(β−1), the largest there is, and all products have one sign
    for (k, prec) in [(512, 128), (2048, 128), (700, 256)] {
        for beta in 17..=24u32 {
            let mut x = Float::with_val(prec, 0);
            for s in 1..prec / beta {
                x += Float::with_val(prec, 1) >> (beta * s + 1);
            }
            let a = vec![Some(Ball { mid: x, rad: Mag::ZERO }); k];
            check(prec, (1, 1, k), &a, &a, &[], &mut Draw(17));
        }
    }
}

#[test]
fn sums_of_a_gemm_stay_below_two_to_the_53() {
    let mut d = Draw(19);
    for prec in [53, 128, 256, 1024, 4096] {
        for k in [1, 9, 512, 100_000, 5_000_000] {
            for (left, right) in [(Weights, Weights), (Weights, Full), (Full, Full)] {
                let mut lines = |kind: Kind| {
                    let row: Vec<Ball> = (0..8).map(|_| ball(kind, &mut d, prec)).collect();
                    vec![Line::of(row.iter())]
                };
                let plan = Plan::new(prec, k, &lines(left), &lines(right));
                let meet = |w: usize| plan.meeting(w).0.len() + plan.meeting(w).1.len();
                let together = (0..plan.kept).map(meet).max().unwrap_or(0);
                let digit = 1u128 << (plan.beta - 1);
                assert!((together * plan.chunk) as u128 * digit * digit <= 1 << 53, "{plan:?}");
                assert!(k.div_ceil(plan.chunk) <= 1 << 9, "{plan:?}");
            }
        }
    }
}

#[test]
fn a_few_longer_lines_have_gemms_of_their_own() {
    let (m, n, k) = (40, 30, 24);
    let mut d = Draw(23);
    for transposed in [false, true] {
        let mut weights = matrix(Integers, &mut d, 128, m * k);
        for i in [3, 17] {
            let b = Ball { mid: Float::with_val(128, d.unit()), rad: Mag::ZERO };
            weights[i * k + i % k] = Some(b);
        }
        let other = matrix(FullWithRadius, &mut d, 128, k * n);
        let rows: Vec<Line> = weights.chunks(k).map(|row| Line::of(row.iter().flatten())).collect();
        let columns: Vec<Line> = (0..n).map(|j| Line::of((0..k).filter_map(|l| other[l * n + j].as_ref()))).collect();
        if transposed {
            let plan = Plan::new(128, k, &columns, &rows);
            assert!(plan.columns.common < plan.columns.digits && plan.columns.longer(0..m) == 2, "{plan:?}");
            let a: Vec<_> = (0..n * k).map(|e| other[e % k * n + e / k].clone()).collect();
            let b: Vec<_> = (0..k * m).map(|e| weights[e % m * k + e / m].clone()).collect();
            check(128, (n, m, k), &a, &b, &[], &mut d);
        } else {
            let plan = Plan::new(128, k, &rows, &columns);
            assert!(plan.rows.common < plan.rows.digits && plan.rows.longer(0..m) == 2, "{plan:?}");
            check(128, (m, n, k), &weights, &other, &[], &mut d);
        }
    }
}
