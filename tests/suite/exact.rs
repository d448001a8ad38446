//! The exact pass by sliced products and in MPFR alone: the enclosures of whole graphs overlap.

use std::path::Path;

use certify::import::{self, Inputs, Options};
use certify::ir::{Array, ValueId};
use certify::num::Ball;
use certify::seed::Seed;
use certify::spec::{Arithmetic, exact};

#[test]
fn sliced_and_scalar_enclosures_overlap() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    for name in ["digits_mlp", "digits_cnn", "digits_resnet_bn"] {
        let model = import::read(&models.join(format!("{name}.onnx"))).unwrap_or_else(|e| panic!("{e}"));
        let inputs = Inputs::read(&models.join(format!("{name}.inputs.npz")), &model).unwrap_or_else(|e| panic!("{e}"));
        let lowered = import::lower(&model, &inputs, &Options::default()).unwrap_or_else(|e| panic!("{e}"));
        let graph = &lowered.graph;
        let seeds: Vec<Seed> = lowered.seeds.iter().map(|(_, v, t)| Seed { value: *v, cotangent: t.clone() }).collect();
        let all: Vec<ValueId> = (0..graph.len()).map(|i| ValueId(i as u32)).collect();
        let wanted = graph.differentiated(&[]);
        for start in [128, 192] {
            let run = |scalar: bool| exact(graph, &seeds, &wanted, &all, &all, Arithmetic { start, scalar }, |_| true);
            let (sliced, scalar) = (run(false), run(true));
            assert_eq!(sliced.precision, scalar.precision, "{name}");
            assert_eq!(sliced.gates, scalar.gates, "{name}");
            let mut differ = 0;
            let mut compare = |v: ValueId, a: &Array<Ball>, b: &Array<Ball>| {
                assert_eq!(a.shape, b.shape);
                for (i, (x, y)) in a.data.iter().zip(&b.data).enumerate() {
                    assert!(x.overlaps(y), "{name}: entry {i} of value {}: {x:?} and {y:?}", v.index());
                    assert!(x.is_exact() || !y.is_exact(), "{name}: entry {i} of value {}: {x:?}", v.index());
                    differ += usize::from(x.mid != y.mid);
                }
            };
            for ((v, a), (_, b)) in sliced.kept.iter().zip(&scalar.kept) {
                compare(*v, a, b);
            }
            for ((v, a), (_, b)) in sliced.gradients.iter().zip(&scalar.gradients) {
                match (a, b) {
                    (Some(a), Some(b)) => compare(*v, a, b),
                    (a, b) => assert_eq!(a.is_some(), b.is_some()),
                }
            }
            // two ways that round alike everywhere would be one way
            assert!(differ > 0, "{name}");
        }
    }
}
