"""Writes ONNX training graphs and .npz files, the same bytes every time.

The graphs look like those of PyTorch's TorchScript exporter in training mode: node names are
module paths (`/net/conv1/Conv`), values are `<node>_output_<k>`, parameters are float initializers
with the names of a state dict (`net.conv1.weight`), other constants are `Constant` nodes.
"""

import io
import os
import zipfile

os.environ.setdefault("OMP_NUM_THREADS", "1")
# One thread: the order of XLA's sums must not depend on the number of cores.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

PRODUCER = "certify models/make.py"


class Graph:
    """A training graph under construction; every method returns the names that it made."""

    def __init__(self, opset=17, ir=8):
        self.opset, self.ir = opset, ir
        self.nodes, self.initializers, self.inputs = [], [], []
        self.count = {}

    def input(self, name, dims, dtype=TensorProto.FLOAT):
        """Declares a graph input; a dimension given as a string is symbolic."""
        self.inputs.append(helper.make_tensor_value_info(name, dtype, dims))
        return name

    def params(self, tensors):
        """Adds binary32 initializers, in the dictionary's order."""
        for name, value in tensors.items():
            value = np.asarray(value)
            assert value.dtype == np.float32, f"{name} is {value.dtype}, not float32"
            self.initializers.append(numpy_helper.from_array(value, name))

    def op(self, op, inputs, scope="/net", outputs=1, to=None, **attributes):
        """Adds a node; the k-th node of its kind in a scope is called `<scope>/<op>_<k>`."""
        base = f"{scope}/{op}"
        k = self.count.get(base, 0)
        self.count[base] = k + 1
        name = base if k == 0 else f"{base}_{k}"
        names = [f"{name}_output_{i}" for i in range(outputs)]
        if to is not None:
            names[0] = to
        self.nodes.append(helper.make_node(op, inputs, names, name=name, **attributes))
        return names[0] if outputs == 1 else names

    def const(self, value, scope="/net"):
        """Adds a `Constant` node that holds the array."""
        return self.op("Constant", [], scope, value=numpy_helper.from_array(np.asarray(value)))

    def model(self, output="loss"):
        """The finished model with one scalar output, checked."""
        outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, [])]
        graph = helper.make_graph(self.nodes, "main_graph", self.inputs, outputs, self.initializers)
        model = helper.make_model(
            graph,
            ir_version=self.ir,
            opset_imports=[helper.make_opsetid("", self.opset)],
            producer_name=PRODUCER,
        )
        onnx.checker.check_model(model, full_check=True)
        return model


def linear(graph, x, prefix, scope):
    """Torch's `Linear`: x · weightᵀ + bias."""
    return graph.op(
        "Gemm", [x, f"{prefix}.weight", f"{prefix}.bias"], scope, alpha=1.0, beta=1.0, transB=1
    )


def cross_entropy(graph, logits, labels, **attributes):
    """The loss node, under the output name `loss`."""
    attributes = {"ignore_index": -100, "reduction": "mean"} | attributes
    inputs = [logits, labels] + attributes.pop("more", [])
    return graph.op("SoftmaxCrossEntropyLoss", inputs, "/loss", to="loss", **attributes)


def write_onnx(path, model):
    """Serialises deterministically."""
    with open(path, "wb") as file:
        file.write(model.SerializeToString(deterministic=True))


def write_npz(path, arrays):
    """An uncompressed .npz whose members all carry the first date that zip knows."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            member.create_system = 3
            member.external_attr = 0o644 << 16
            data = io.BytesIO()
            np.lib.format.write_array(data, np.asarray(array, order="C"), version=(1, 0))
            archive.writestr(member, data.getvalue())


def binary32_loss(model, inputs):
    """The loss by onnxruntime, or by ONNX's reference evaluator where it has no kernel.

    Returns the loss and the name of who computed it.
    """
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        return float(session.run(["loss"], inputs)[0]), "onnxruntime"
    except Exception:
        from onnx.reference import ReferenceEvaluator

        return float(ReferenceEvaluator(model).run(["loss"], inputs)[0]), "onnx.reference"
