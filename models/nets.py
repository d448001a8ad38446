"""The three nets: initial parameters, loss in JAX, and the same graph in ONNX.

`loss(params, x, y)` follows the definitions of the ONNX operators and works in the format of its
arguments; it also returns the logits and the batch statistics of every BatchNormalization.
"""

from dataclasses import dataclass
from typing import Callable

import numpy as np
from onnx import TensorProto

from onnx_files import Graph, cross_entropy, linear

import jax
import jax.numpy as jnp
from jax import lax

jax.config.update("jax_enable_x64", True)

# BatchNormalization's epsilon is a binary32 attribute, 9.999999747378752e-06: that value is the
# definition, in binary64 too.
BN_EPSILON = float(np.float32(1e-5))


@dataclass
class Net:
    """`batch` is the number of samples in the inputs file; `buffers` are not trained."""

    name: str
    seed: int
    batch: int
    epochs: int
    rate: float
    parameters: dict
    buffers: dict
    loss: Callable
    graph: Callable


def conv(x, weight, bias=None, strides=(1, 1), pads=((1, 1), (1, 1))):
    """ONNX `Conv`, NCHW."""
    y = lax.conv_general_dilated(
        x, weight, strides, pads, dimension_numbers=("NCHW", "OIHW", "NCHW")
    )
    return y if bias is None else y + bias[None, :, None, None]


def max_pool(x):
    """ONNX `MaxPool` 2x2, stride 2; among equals the first one gets the gradient."""
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")


def batch_norm(x, scale, bias, epsilon=BN_EPSILON):
    """ONNX `BatchNormalization` in training mode: biased variance over all axes but 1."""
    mean = x.mean((0, 2, 3), keepdims=True)
    var = ((x - mean) ** 2).mean((0, 2, 3), keepdims=True)
    y = (x - mean) / jnp.sqrt(var + epsilon)
    y = y * scale[None, :, None, None] + bias[None, :, None, None]
    return y, (mean.reshape(-1), var.reshape(-1))


def mean_cross_entropy(logits, y):
    """ONNX `SoftmaxCrossEntropyLoss`, reduction mean, no weights."""
    return -jax.nn.log_softmax(logits, axis=1)[jnp.arange(len(y)), y].mean()


def he_normal(rng, shape):
    """Normal with deviation sqrt(2 / fan in)."""
    return rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))


def dense(rng, name, outputs, inputs):
    return {f"{name}.weight": he_normal(rng, (outputs, inputs)), f"{name}.bias": np.zeros(outputs)}


def apply_dense(p, name, h):
    return h @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def start():
    graph = Graph()
    graph.input("x", ["N", 1, 8, 8])
    graph.input("y", ["N"], TensorProto.INT64)
    return graph


# ------------------------------------------------------------------------------------------- mlp


def mlp():
    """Flatten, Gemm 64, Relu, Gemm 32, Tanh, Gemm 10."""
    rng = np.random.default_rng(1)
    parameters = {}
    for name, outputs, inputs in [("fc1", 64, 64), ("fc2", 32, 64), ("fc3", 10, 32)]:
        parameters |= dense(rng, f"net.{name}", outputs, inputs)

    def loss(p, x, y):
        h = jax.nn.relu(apply_dense(p, "net.fc1", x.reshape(len(x), -1)))
        h = jnp.tanh(apply_dense(p, "net.fc2", h))
        logits = apply_dense(p, "net.fc3", h)
        return mean_cross_entropy(logits, y), (logits, {})

    def graph(tensors):
        g = start()
        g.params(tensors)
        h = g.op("Flatten", ["x"], axis=1)
        h = g.op("Relu", [linear(g, h, "net.fc1", "/net/fc1")])
        h = g.op("Tanh", [linear(g, h, "net.fc2", "/net/fc2")])
        cross_entropy(g, linear(g, h, "net.fc3", "/net/fc3"), "y")
        return g.model()

    return Net("digits_mlp", 11, 32, 12, 0.05, parameters, {}, loss, graph)


# ------------------------------------------------------------------------------------------- cnn


def conv_node(g, x, name, kernel=3, stride=1, bias=True):
    inputs = [x, f"net.{name}.weight"] + ([f"net.{name}.bias"] if bias else [])
    return g.op(
        "Conv",
        inputs,
        "/net/" + name.replace(".", "/"),
        dilations=[1, 1],
        group=1,
        kernel_shape=[kernel, kernel],
        pads=[kernel // 2] * 4,
        strides=[stride, stride],
    )


def pool_node(g, x):
    return g.op(
        "MaxPool",
        [x],
        ceil_mode=0,
        dilations=[1, 1],
        kernel_shape=[2, 2],
        pads=[0, 0, 0, 0],
        strides=[2, 2],
    )


def cnn():
    """Conv 16, Relu, MaxPool, Conv 32, Relu, MaxPool, Flatten, Gemm 64, Relu, Gemm 10.

    Of a dozen seeds this is one with no activation of the batch nearer to a kink than 1e-5.
    """
    rng = np.random.default_rng(2)
    parameters = {
        "net.conv1.weight": he_normal(rng, (16, 1, 3, 3)),
        "net.conv1.bias": np.zeros(16),
        "net.conv2.weight": he_normal(rng, (32, 16, 3, 3)),
        "net.conv2.bias": np.zeros(32),
    }
    parameters |= dense(rng, "net.fc1", 64, 128) | dense(rng, "net.fc2", 10, 64)

    def loss(p, x, y):
        h = max_pool(jax.nn.relu(conv(x, p["net.conv1.weight"], p["net.conv1.bias"])))
        h = max_pool(jax.nn.relu(conv(h, p["net.conv2.weight"], p["net.conv2.bias"])))
        h = jax.nn.relu(apply_dense(p, "net.fc1", h.reshape(len(h), -1)))
        logits = apply_dense(p, "net.fc2", h)
        return mean_cross_entropy(logits, y), (logits, {})

    def graph(tensors):
        g = start()
        g.params(tensors)
        h = pool_node(g, g.op("Relu", [conv_node(g, "x", "conv1")]))
        h = pool_node(g, g.op("Relu", [conv_node(g, h, "conv2")]))
        h = g.op("Flatten", [h], axis=1)
        h = g.op("Relu", [linear(g, h, "net.fc1", "/net/fc1")])
        cross_entropy(g, linear(g, h, "net.fc2", "/net/fc2"), "y")
        return g.model()

    return Net("digits_cnn", 27, 32, 5, 0.02, parameters, {}, loss, graph)


# ---------------------------------------------------------------------------------------- resnet


def resnet_bn():
    """Conv with bias, BatchNormalization, Relu; two residual blocks; GlobalAveragePool; Gemm.

    The exact gradient of `net.conv1.bias` is 0: train-mode BatchNormalization subtracts it.
    """
    rng = np.random.default_rng(3)
    parameters, buffers = {}, {}

    def add_conv(name, outputs, inputs, kernel):
        parameters[f"net.{name}.weight"] = he_normal(rng, (outputs, inputs, kernel, kernel))

    def add_bn(name, channels):
        parameters[f"net.{name}.weight"] = np.ones(channels)
        parameters[f"net.{name}.bias"] = np.zeros(channels)
        buffers[f"net.{name}.running_mean"] = np.zeros(channels)
        buffers[f"net.{name}.running_var"] = np.ones(channels)

    add_conv("conv1", 8, 1, 3)
    parameters["net.conv1.bias"] = 0.1 * rng.standard_normal(8)
    add_bn("bn1", 8)
    for block, inputs, outputs in [("layer1", 8, 8), ("layer2", 8, 16)]:
        add_conv(f"{block}.conv1", outputs, inputs, 3)
        add_bn(f"{block}.bn1", outputs)
        add_conv(f"{block}.conv2", outputs, outputs, 3)
        add_bn(f"{block}.bn2", outputs)
    add_conv("layer2.down", 16, 8, 1)
    parameters |= dense(rng, "net.fc", 10, 16)

    def loss(p, x, y):
        statistics = {}

        def bn(name, h):
            h, batch = batch_norm(h, p[f"net.{name}.weight"], p[f"net.{name}.bias"])
            statistics[f"net.{name}.running_mean"], statistics[f"net.{name}.running_var"] = batch
            return h

        def block(name, h, stride):
            strides, weight = (stride, stride), p[f"net.{name}.conv1.weight"]
            r = jax.nn.relu(bn(f"{name}.bn1", conv(h, weight, strides=strides)))
            r = bn(f"{name}.bn2", conv(r, p[f"net.{name}.conv2.weight"]))
            if stride == 2:
                pads = ((0, 0), (0, 0))
                h = conv(h, p[f"net.{name}.down.weight"], strides=strides, pads=pads)
            return jax.nn.relu(r + h)

        h = jax.nn.relu(bn("bn1", conv(x, p["net.conv1.weight"], p["net.conv1.bias"])))
        h = block("layer2", block("layer1", h, 1), 2)
        logits = apply_dense(p, "net.fc", h.mean((2, 3)))
        return mean_cross_entropy(logits, y), (logits, statistics)

    def graph(tensors):
        g = start()
        g.params(tensors)

        def bn(name, h):
            parts = ["weight", "bias", "running_mean", "running_var"]
            return g.op(
                "BatchNormalization",
                [h] + [f"net.{name}.{part}" for part in parts],
                "/net/" + name.replace(".", "/"),
                outputs=3,
                epsilon=BN_EPSILON,
                momentum=0.9,
                training_mode=1,
            )[0]

        def block(name, h, stride):
            scope = f"/net/{name}"
            r = conv_node(g, h, f"{name}.conv1", stride=stride, bias=False)
            r = g.op("Relu", [bn(f"{name}.bn1", r)], scope)
            r = bn(f"{name}.bn2", conv_node(g, r, f"{name}.conv2", bias=False))
            if stride == 2:
                h = conv_node(g, h, f"{name}.down", kernel=1, stride=2, bias=False)
            return g.op("Relu", [g.op("Add", [r, h], scope)], scope)

        h = g.op("Relu", [bn("bn1", conv_node(g, "x", "conv1"))])
        h = block("layer2", block("layer1", h, 1), 2)
        h = g.op("Flatten", [g.op("GlobalAveragePool", [h], "/net/pool")], axis=1)
        cross_entropy(g, linear(g, h, "net.fc", "/net/fc"), "y")
        return g.model()

    return Net("digits_resnet_bn", 13, 16, 8, 0.05, parameters, buffers, loss, graph)


ALL = [mlp, cnn, resnet_bn]
