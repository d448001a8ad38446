"""Gradients of a training graph by JAX, for `certify check`.

    python jax_gradients.py model.onnx inputs.npz gradients.npz

Reads the few operators of small classifiers (Gemm, MatMul, Add, Conv, MaxPool, Relu, Tanh, Sigmoid,
Flatten, SoftmaxCrossEntropyLoss) and differentiates with jax.grad, in binary32 on the CPU.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import onnx


def attributes(node: onnx.NodeProto) -> dict:
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def gemm(x, a):
    left, right = (x[0].T if a.get("transA") else x[0]), (x[1].T if a.get("transB") else x[1])
    y = a.get("alpha", 1.0) * (left @ right)
    return y + a.get("beta", 1.0) * x[2] if len(x) > 2 else y


def pads(a, rank):
    p = a.get("pads", [0] * (2 * rank))
    return list(zip(p[:rank], p[rank:]))


def conv(x, a):
    rank = x[0].ndim - 2
    y = jax.lax.conv_general_dilated(
        x[0], x[1], a.get("strides", [1] * rank), pads(a, rank),
        rhs_dilation=a.get("dilations", [1] * rank), feature_group_count=a.get("group", 1),
        precision=jax.lax.Precision.HIGHEST,
    )
    return y + x[2].reshape((1, -1) + (1,) * rank) if len(x) > 2 else y


def max_pool(x, a):
    rank = x[0].ndim - 2
    window = (1, 1) + tuple(a["kernel_shape"])
    strides = (1, 1) + tuple(a.get("strides", [1] * rank))
    return jax.lax.reduce_window(x[0], -jnp.inf, jax.lax.max, window, strides, [(0, 0), (0, 0)] + pads(a, rank))


def cross_entropy(x, a):
    chosen = jnp.take_along_axis(jax.nn.log_softmax(x[0], axis=1), x[1][:, None], axis=1)
    reduce = {b"mean": jnp.mean, b"sum": jnp.sum}[a.get("reduction", b"mean")]
    return -reduce(chosen)


OPERATORS = {
    "Gemm": gemm,
    "Conv": conv,
    "MaxPool": max_pool,
    "SoftmaxCrossEntropyLoss": cross_entropy,
    "MatMul": lambda x, a: x[0] @ x[1],
    "Add": lambda x, a: x[0] + x[1],
    "Relu": lambda x, a: jax.nn.relu(x[0]),
    "Tanh": lambda x, a: jnp.tanh(x[0]),
    "Sigmoid": lambda x, a: jax.nn.sigmoid(x[0]),
    "Flatten": lambda x, a: x[0].reshape((int(np.prod(x[0].shape[: a.get("axis", 1)])), -1)),
}


def main() -> None:
    model = onnx.load(sys.argv[1])
    inputs = {k: jnp.asarray(v) for k, v in np.load(sys.argv[2]).items()}
    arrays = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    weights = {k: jnp.asarray(v) for k, v in arrays.items() if v.dtype == np.float32}
    loss = model.graph.output[0].name

    def run(weights):
        values = {**inputs, **weights}
        for node in model.graph.node:
            if node.op_type not in OPERATORS:
                sys.exit(f"this script doesn't know {node.op_type}")
            x = [values[i] for i in node.input if i]
            values[node.output[0]] = OPERATORS[node.op_type](x, attributes(node))
        return values[loss].reshape(())

    found = jax.grad(run)(weights)
    np.savez(sys.argv[3], **{k: np.asarray(v) for k, v in found.items()})
    print(f"{len(found)} gradients by JAX {jax.__version__}")


if __name__ == "__main__":
    main()
