"""Gradients of a training graph by onnxruntime-training, for `certify check`.

    python ort_gradients.py model.onnx inputs.npz gradients.npz [LOSS]

The graph must contain its loss (default: its first output). onnxruntime appends the backward pass to the
graph and runs it in binary32; parameters keep their names. Needs onnxruntime-training-cpu 1.19.2, and no
torch: the builder is taken from the native module, because `import onnxruntime.training` asks for torch.
"""

import sys

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.capi._pybind_state import GradientGraphBuilder


# Operators whose backward pass reads outputs that a forward graph may leave out: how many there must be.
OUTPUTS = {"SoftmaxCrossEntropyLoss": 2, "MaxPool": 2, "LayerNormalization": 3, "BatchNormInternal": 5}


def complete(graph: onnx.GraphProto) -> None:
    """What onnxruntime does to a forward graph before it differentiates it."""
    for node in graph.node:
        if node.op_type == "BatchNormalization":
            node.op_type, node.domain = "BatchNormInternal", "com.microsoft"
        while len(node.output) < OUTPUTS.get(node.op_type, 0):
            node.output.append(f"{node.output[0]}_extra_{len(node.output)}")


def gradients(model: onnx.ModelProto, inputs: dict, loss: str) -> dict:
    trained = sorted(
        i.name for i in model.graph.initializer if i.data_type == onnx.TensorProto.FLOAT and i.dims
    )
    # Running statistics are no parameters.
    for node in model.graph.node:
        if node.op_type == "BatchNormalization":
            trained = [n for n in trained if n not in node.input[3:5]]
    complete(model.graph)
    if not any(o.domain == "com.microsoft" for o in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    # The builder differentiates by what is an input of the graph.
    weights = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    for name in trained:
        w = weights[name]
        model.graph.input.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, w.shape))
    kept = [i for i in model.graph.initializer if i.name not in trained]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    builder = GradientGraphBuilder(model.SerializeToString(), {loss}, set(trained), loss)
    builder.build()
    backward = onnx.load_from_string(builder.get_model())
    made = {o for n in backward.graph.node for o in n.output}
    have = {o.name for o in backward.graph.output}
    names = {n: f"{n}_grad" for n in trained if f"{n}_grad" in made}
    for n, g in names.items():
        if g not in have:
            backward.graph.output.append(onnx.helper.make_tensor_value_info(g, onnx.TensorProto.FLOAT, None))
    feeds = dict(inputs)
    feeds.update({n: weights[n] for n in trained})
    # The gradient of the loss by itself.
    seed = f"{loss}_grad"
    wanted = {i.name: i for i in backward.graph.input}
    if seed in wanted:
        shape = [d.dim_value for d in wanted[seed].type.tensor_type.shape.dim]
        feeds[seed] = np.ones(shape, np.float32)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(backward.SerializeToString(), options, providers=["CPUExecutionProvider"])
    known = {i.name for i in session.get_inputs()}
    values = session.run(list(names.values()), {k: v for k, v in feeds.items() if k in known})
    return dict(zip(names, values))


def main() -> None:
    model = onnx.load(sys.argv[1])
    inputs = dict(np.load(sys.argv[2]))
    loss = sys.argv[4] if len(sys.argv) > 4 else model.graph.output[0].name
    found = gradients(model, inputs, loss)
    np.savez(sys.argv[3], **found)
    print(f"{len(found)} gradients by onnxruntime {ort.__version__}")


if __name__ == "__main__":
    main()
