//! The formulas of matrix products, as MatMul makes them: results and cotangents, with a bias and without.

use super::*;
use crate::num::lemma;
use crate::ops::MatMul;
use crate::ops::contraction::{Layout, Product};

/// A factor's entry: |centre|, |covered runs|, error.
type Entry = (Real, Real, Real);

fn entry(m: &[Row], i: usize, j: usize) -> Entry {
    (m[i].mag(j), m[i].run_mag(j), m[i].e(j))
}

/// n·u·S + (nη/2)(1+nu), nothing of nothing.
fn any_order(n: usize, total: &Real) -> Real {
    if total.is_zero() {
        return real(0.0);
    }
    let nu = u() * n as f64;
    &nu * total + half_eta() * n as f64 * (&nu + 1.0)
}

/// Carried error, Σ|a||b| over covered runs, and local error in any order of a contraction; the bias counts as a
/// term.
fn contracted(terms: &[(Entry, Entry)], bias: Option<Entry>) -> (Real, Real, Real) {
    // |a|e_b + e_a(|b| + e_b)
    let carried = sum(terms.iter().map(|((a, _, ea), (b, _, eb))| a * eb + ea * (b + eb)));
    let total = sum(terms.iter().map(|((_, a, _), (_, b, _))| a * b));
    match bias {
        None => (carried, total.clone(), any_order(terms.len(), &total)),
        Some((_, c, e)) => (carried + e, total.clone(), any_order(terms.len() + 1, &(total + c))),
    }
}

fn transposed(m: &[Row]) -> Vec<Row> {
    let column = |j: usize| Row {
        run: m.iter().map(|r| r.run[j]).collect(),
        spec: m.iter().map(|r| r.spec[j]).collect(),
        eps: m.iter().map(|r| r.eps[j]).collect(),
        centre: m[0].centre,
    };
    (0..m[0].len()).map(column).collect()
}

/// One contraction for every entry of A·B.
fn product(a: &[Row], b: &[Row], bias: Option<&[Row]>) -> Vec<(Real, Real, Real)> {
    let one = |i: usize, j: usize| {
        let terms: Vec<(Entry, Entry)> = (0..b.len()).map(|l| (entry(a, i, l), entry(b, l, j))).collect();
        contracted(&terms, bias.map(|c| entry(c, i, j)))
    };
    (0..a.len()).flat_map(|i| (0..b[0].len()).map(move |j| (i, j))).map(|(i, j)| one(i, j)).collect()
}

fn hold_product(what: &str, bound: &Bound, formulas: &[(Real, Real, Real)], k: usize, bias: Option<&[Row]>) {
    assert_eq!(bound.carried.len(), formulas.len(), "{what}");
    for (i, (carried, _, local)) in formulas.iter().enumerate() {
        hold(&format!("{what}, carried, entry {i}"), bound.carried[i].get(), carried);
        hold(&format!("{what}, local, entry {i}"), bound.local[i].get(), local);
    }
    // (max S + max |c|)·(1 + (1+u)^(k+2) − 1)
    let most_bias = most(bias.iter().flat_map(|c| c.iter().flat_map(|r| (0..r.len()).map(|j| r.run_mag(j)))));
    let peak = (most(formulas.iter().map(|f| f.1.clone())) + most_bias) * (growth(k + 2) + 1.0);
    hold(&format!("{what}, intermediates"), bound.peak.get(), &peak);
}

/// Matrices 3×4 and 4×2 and a bias: exact, a little off, far off, rows of zeros, small and large.
fn matrices(centre: Centre) -> Vec<[Vec<Row>; 3]> {
    let make = |rows: usize, cols: usize, k: usize, size: f32, width: f64, e: f64| -> Vec<Row> {
        let x = |i: usize, j: usize| {
            if (i + 2 * j + k).is_multiple_of(5) { 0.0 } else { ((i * 7 + j * 3 + k) as f32).sin() * size }
        };
        let eps = |i: usize, j: usize| e / (1 + (i + j + k) % 3) as f64;
        let row = |i: usize| {
            let (x, eps): (Vec<f32>, Vec<f64>) = (0..cols).map(|j| (x(i, j), eps(i, j))).unzip();
            Row::new(centre, &x, width, &eps)
        };
        (0..rows).map(row).collect()
    };
    let all = |size: f32, width: f64, e: [f64; 3]| {
        [make(3, 4, 1, size, width, e[0]), make(4, 2, 2, size, width, e[1]), make(3, 2, 3, size, width, e[2])]
    };
    vec![
        all(1.0, 0.0, [0.0; 3]),
        all(1.0, 0.0, [1e-6, 0.0, 0.0]),
        all(1.0, 1e-6, [0.0, 1e-6, 0.0]),
        all(3.0, 1e-3, [0.25, 0.5, 1.0]),
        all(1e-23, 0.0, [0.0, 1e-30, 0.0]),
        all(0.0, 0.0, [0.0; 3]),
    ]
}

#[test]
fn matrix_products_keep_to_their_formulas() {
    for case in matrices(Centre::Spec) {
        let [a, b, c] = &case;
        let [xs, ys, cs] = [a, b, c].map(|m| Rows::of(m));
        let op = MatMul { trans_a: false, trans_b: false };
        let bound = op.forward_bound(&[xs.approx(), ys.approx()], &cs.approx());
        hold_product("A·B", &bound, &product(a, b, None), 4, None);
        let bound = op.forward_bound(&[xs.approx(), ys.approx(), cs.approx()], &cs.approx());
        hold_product("A·B + C", &bound, &product(a, b, Some(c)), 4, Some(c));
        // Ā = Ȳ·Bᵀ, B̄ = Aᵀ·Ȳ
        let back = op.vjp_bound(&[xs.approx(), ys.approx()], &cs.approx(), &cs.approx(), &[true, true]);
        let [left, right] = [0, 1].map(|o| back[o].as_ref().expect("asked for"));
        hold_product("Ȳ·Bᵀ", left, &product(c, &transposed(b), None), 2, None);
        hold_product("Aᵀ·Ȳ", right, &product(&transposed(a), c, None), 3, None);
    }
}

#[test]
fn errors_that_this_runs_products_carry_keep_to_their_formulas() {
    for case in matrices(Centre::Run) {
        let [a, b, c] = &case;
        let [xs, ys, cs] = [a, b, c].map(|m| Rows::of(m));
        let op = MatMul { trans_a: false, trans_b: false };
        let bound = op.forward_bound(&[xs.approx(), ys.approx(), cs.approx()], &cs.approx());
        let formulas = product(a, b, Some(c));
        for (i, (carried, total, _)) in formulas.iter().enumerate() {
            hold(&format!("carried, entry {i}"), bound.carried[i].get(), carried);
            // the tree of four products, and u|y| of the bias' addition: no more than that
            let tree = lemma::dot_tree(crate::num::reduce::height(4), 4, Mag::of(total.to_f64().next_up()));
            let addition = u().to_f64() * f64::from(cs.run[i].abs()) + 1e-45;
            assert!(bound.local[i].get() <= tree.get() * (1.0 + 1e-9) + addition, "local, entry {i}");
        }
    }
}

#[test]
fn ranges_of_matrix_products_keep_to_their_formulas() {
    for case in matrices(Centre::Spec) {
        let [a, b, c] = &case;
        let [xs, ys, cs] = [a, b, c].map(|m| Rows::of(m));
        let op = MatMul { trans_a: false, trans_b: false };
        for with in [false, true] {
            let (x, y, z) = (xs.ranges(), ys.ranges(), cs.ranges());
            let range = if with { op.forward_scale(&[&x, &y, &z]) } else { op.forward_scale(&[&x, &y]) };
            for (at, &found) in range.data.iter().enumerate() {
                let (i, j) = (at / 2, at % 2);
                let pairs = || (0..4).map(|l| (a[i].spec[l], b[l].spec[j]));
                let mid = |v: Interval| real(v.mid());
                let rad = |v: Interval| (real(v.hi) - v.mid()).max(real(v.mid()) - v.lo);
                let size = |v: Interval| of(v.mag());
                // Σ m_a·m_b ± (Σ |a|r_b + r_a|b|, what the midpoints' product errs, and the rounding)
                let centre = sum(pairs().map(|(p, q)| mid(p) * mid(q)));
                let width = sum(pairs().map(|(p, q)| size(p) * rad(q) + rad(p) * size(q)));
                let total = sum(pairs().map(|(p, q)| size(p) * size(q)));
                let own = &total * 6.0 * power_of_two(-52);
                let bias = c[i].spec[j];
                let formula = if with {
                    let more = width + own + any_order(5, &(total + size(bias)));
                    (&centre + bias.lo - &more, centre + bias.hi + more)
                } else {
                    let more = width + own + any_order(4, &total);
                    (&centre - &more, centre + more)
                };
                hold_range(&format!("entry {at}, bias: {with}"), found, &formula);
            }
        }
    }
}

/// Σ(x_i·1 + x_i·(−1)) = 0: the whole range is what is added for rounding, the product of the midpoints' too.
#[test]
fn a_range_around_nothing_is_its_widths() {
    let n = 64;
    let p = Product { batch: 1, m: 1, n: 1, k: n, left: Layout::plain(n), right: Layout::plain(1) };
    let x: Vec<Interval> = (0..n).map(|i| Interval::point(1.0 + (i / 2) as f64)).collect();
    let y: Vec<Interval> = (0..n).map(|i| Interval::point(if i % 2 == 0 { 1.0 } else { -1.0 })).collect();
    let total = sum((0..n).map(|i| real(1.0 + (i / 2) as f64)));
    let width = any_order(n, &total) + &total * (n + 2) as f64 * power_of_two(-52);
    let range = p.scale(&x, &y, None)[0];
    hold("above", range.hi, &width);
    hold("below", -range.lo, &width);
}

#[test]
fn wide_products_of_a_batch_enclose_each_and_hardly_more() {
    let (m, n, k) = (2, 3, 4);
    let p = Product { batch: 2, m, n, k, left: Layout::plain(k), right: Layout::plain(n) };
    let number = |i: usize| ((i * 37 % 101) as f32 - 50.0) / 7.0;
    let a: Vec<f32> = (0..2 * m * k).map(number).collect();
    let b: Vec<f32> = (0..2 * k * n).map(|i| number(i + 13)).collect();
    let wide = p.wide(&a, &b);
    assert_eq!(wide.len(), 2 * m * n);
    for (at, found) in wide.iter().enumerate() {
        let (t, i, j) = (at / (m * n), at / n % m, at % n);
        let term = |l: usize| (f64::from(a[t * m * k + i * k + l]), f64::from(b[t * k * n + l * n + j]));
        let exact = sum((0..k).map(|l| real(term(l).0) * term(l).1)).to_f64();
        let total: f64 = (0..k).map(|l| (term(l).0 * term(l).1).abs()).sum();
        assert!(found.lo <= exact && exact <= found.hi, "entry {at}: {found:?} for {exact}");
        assert!(found.hi - found.lo <= total * 1e-13, "entry {at}: {found:?}");
    }
}
