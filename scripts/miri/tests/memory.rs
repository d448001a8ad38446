//! Every loop that writes through raw pointers, with entries that own memory where it can.

use certify_miri::num::matmul::{View, matmul, matmul_f64_add};
use certify_miri::num::{Mag, parallel};

#[test]
fn loops_over_threads() {
    for n in [0usize, 1, 5, 33] {
        assert_eq!(parallel::map(n, 1, |i| i.to_string()), (0..n).map(|i| i.to_string()).collect::<Vec<_>>());
        assert_eq!(parallel::flat(n, 1, |i| vec![Box::new(i); 2]).len(), 2 * n);
        let mut data: Vec<Vec<usize>> = vec![Vec::new(); n];
        parallel::each(&mut data, 1, |i, x| x.push(i));
        parallel::chunks(&mut data, 3, 1, |c, part| part.iter_mut().for_each(|x| x.push(c)));
        assert!(data.iter().enumerate().all(|(i, x)| *x == [i, i / 3]));
        assert_eq!(parallel::any(n, 1, |i| i == 4), n > 4);
        let mut nothing = vec![(); n];
        parallel::each(&mut nothing, 1, |_, ()| ());
        assert_eq!(parallel::map(n, 1, |_| ()).len(), n);
    }
}

#[test]
fn a_panic_in_a_loop() {
    let all = std::panic::catch_unwind(|| parallel::map(40, 1, |i| if i == 7 { panic!("7") } else { i }));
    assert!(all.is_err());
    let mut data = vec![String::from("a"); 40];
    let each = std::panic::AssertUnwindSafe(|| {
        parallel::each(&mut data, 1, |i, x| if i == 7 { panic!("7") } else { x.push('b') });
    });
    assert!(std::panic::catch_unwind(each).is_err());
    assert!(data.iter().all(|x| x == "a" || x == "ab"));
}

#[test]
fn magnitudes_as_numbers() {
    let m = [Mag::ONE, Mag::ZERO, Mag::of(2.5)];
    assert_eq!(Mag::as_f64s(&m), [1.0, 0.0, 2.5]);
}

/// Products whose tiles are cut at every edge, in both layouts.
#[test]
fn tiles_of_a_product() {
    for (m, n, k) in [(1, 1, 1), (3, 5, 4), (9, 3, 33), (2, 19, 2)] {
        let a: Vec<f32> = (0..m * k).map(|i| (i % 7) as f32 - 3.0).collect();
        let b: Vec<f32> = (0..k * n).map(|i| (i % 5) as f32 - 2.0).collect();
        let mut c = vec![0.0; m * n];
        matmul(&mut c, View::rows(&a, k), View::rows(&b, n), m, n, k);
        let mut t = vec![0.0; m * n];
        matmul(&mut t, View::rows(&b, n).t(), View::rows(&a, k).t(), n, m, k);
        for i in 0..m {
            for j in 0..n {
                let exact: f32 = (0..k).map(|l| a[i * k + l] * b[l * n + j]).sum();
                assert_eq!((c[i * n + j], t[j * m + i]), (exact, exact));
            }
        }
        let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
        let (a, b, mut c) = (wide(&a), wide(&b), vec![0.0; m * n]);
        matmul_f64_add(&mut c, n, false, View::rows(&a, k), View::rows(&b, n), m, n, k);
        assert_eq!(c, wide(&t_of(&t, n, m)));
    }
}

/// The transposed matrix.
fn t_of(x: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    (0..rows * cols).map(|i| x[i % rows * cols + i / rows]).collect()
}
