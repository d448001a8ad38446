"""Gradients of onnxruntime-training artifacts by onnxruntime itself, for `certify check`.

    python ort_artifact_gradients.py FOLDER SEED inputs.npz gradients.npz

FOLDER holds `training_model.onnx` and `forward.onnx` (for the weights). Writes random inputs and what
onnxruntime's own gradient kernels make of them in binary32, keyed by parameter name. Models that draw
Dropout masks are refused: nobody else can know what was drawn. Needs onnxruntime-training-cpu 1.19.2.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort


def inputs_of(graph: onnx.GraphProto, weights: dict, classes: int, seed: int, batch: int = 6) -> dict:
    """Standard normal numbers; labels below `classes`."""
    rng = np.random.default_rng(seed)
    made = {}
    for value in graph.input:
        if value.name in weights or ".accumulation.buffer" in value.name or value.name == "lazy_reset_grad":
            continue
        kind = value.type.tensor_type
        shape = [d.dim_value or batch for d in kind.shape.dim]
        if kind.elem_type == onnx.TensorProto.FLOAT:
            made[value.name] = rng.standard_normal(shape).astype(np.float32)
            if value.name == "target":
                made[value.name] = rng.integers(0, 2, shape).astype(np.float32)
        else:
            made[value.name] = rng.integers(0, classes, shape).astype(np.int64)
    return made


def gradients(graph: onnx.GraphProto, model: onnx.ModelProto, weights: dict, inputs: dict) -> dict:
    # InPlaceAccumulatorV2(buffer, gradient, reset): the buffer's name tells whose gradient it is.
    names = {}
    kept = []
    for node in graph.node:
        if node.op_type == "InPlaceAccumulatorV2":
            names[node.input[0].removesuffix("_grad.accumulation.buffer")] = node.input[1]
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
    del graph.output[:]
    graph.output.extend(onnx.helper.make_tensor_value_info(g, onnx.TensorProto.FLOAT, None) for g in names.values())
    feeding = [i for i in graph.input if i.name in weights or i.name in inputs]
    del graph.input[:]
    graph.input.extend(feeding)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feeds = {i.name: inputs.get(i.name, weights.get(i.name)) for i in feeding}
    return dict(zip(names, session.run(list(names.values()), feeds)))


def main() -> int:
    if len(sys.argv) != 5:
        print(__doc__, file=sys.stderr)
        return 2
    folder, seed, inputs_file, gradients_file = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    model = onnx.load(folder / "training_model.onnx")
    if any(n.op_type == "Dropout" for n in model.graph.node):
        print(f"{folder}: Dropout draws at random", file=sys.stderr)
        return 1
    forward = onnx.load(folder / "forward.onnx")
    weights = {i.name: onnx.numpy_helper.to_array(i) for i in forward.graph.initializer}
    inputs = inputs_of(model.graph, weights, 2, seed)
    np.savez(inputs_file, **inputs)
    np.savez(gradients_file, **gradients(model.graph, model, weights, inputs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
