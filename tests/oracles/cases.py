"""What a fixture is, and the operators of its JAX half.

Each case builds an ONNX graph and states the same loss in JAX, from the operators' definitions. The
two halves share nothing but names: `make_gradients.py` compares their losses.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "models"))

import numpy as np
from onnx import helper
from onnx_files import Graph, cross_entropy, linear  # noqa: F401 (for the case files)

import jax
import jax.numpy as jnp
from jax import lax

jax.config.update("jax_enable_x64", True)

CASES = []


@dataclass
class Case:
    """`params` and `inputs` by name, binary32 or integer; `loss(params, inputs)` in binary64."""

    params: dict
    inputs: dict
    model: object
    loss: Callable
    buffers: tuple = ()


def case(function):
    """Registers a function that makes a `Case`; its docstring's first line describes it."""
    CASES.append(function)
    return function


class Random:
    """Binary32 tensors from a seed."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def normal(self, *shape, scale=1.0):
        return np.float32(self.rng.standard_normal(shape) * scale)

    def uniform(self, low, high, *shape):
        return np.float32(self.rng.uniform(low, high, shape))

    def labels(self, classes, *shape):
        return self.rng.integers(0, classes, shape)


def start(params, inputs, opset=17, ir=8):
    """A graph with these initializers and (fixed-size) inputs."""
    graph = Graph(opset, ir)
    graph.params(params)
    for name, value in inputs.items():
        graph.input(name, list(value.shape), helper.np_dtype_to_tensor_dtype(value.dtype))
    return graph


def conv(x, w, b=None, strides=None, pads=None, dilations=None, group=1):
    """ONNX `Conv` in 1, 2 or 3 dimensions; pads as ONNX writes them (begins, then ends)."""
    d = x.ndim - 2
    pads = pads or [0] * (2 * d)
    names = "DHW"[3 - d :]
    y = lax.conv_general_dilated(
        x,
        w,
        strides or (1,) * d,
        list(zip(pads[:d], pads[d:], strict=True)),
        rhs_dilation=dilations or (1,) * d,
        dimension_numbers=("NC" + names, "OI" + names, "NC" + names),
        feature_group_count=group,
    )
    return y if b is None else y + b.reshape((1, -1) + (1,) * d)


def windows(x, start, op, kernel, strides, pads):
    """A reduction over 2-D windows, pads as (begin, end) per dimension."""
    pads = ((0, 0), (0, 0), *pads)
    return lax.reduce_window(x, start, op, (1, 1, *kernel), (1, 1, *strides), pads)


def per_channel(v, x):
    return v.reshape((1, -1) + (1,) * (x.ndim - 2))


def normalize(x, axes, epsilon):
    """(x - mean) / sqrt(biased variance + epsilon); epsilon is a binary32 attribute."""
    mean = x.mean(axes, keepdims=True)
    var = ((x - mean) ** 2).mean(axes, keepdims=True)
    return (x - mean) / jnp.sqrt(var + float(np.float32(epsilon)))


def pick(log_probabilities, labels):
    """log_probabilities[n, labels[n, ..], ..]: the class axis is 1."""
    return jnp.take_along_axis(log_probabilities, jnp.expand_dims(labels, 1), 1).squeeze(1)


def mean_ce(logits, labels):
    return -pick(jax.nn.log_softmax(logits, 1), labels).mean()


def mean_square(g, h, target):
    """Mean of (h - target)², as `(d * d).mean()` exports."""
    d = g.op("Sub", [h, target], "/loss")
    g.op("ReduceMean", [g.op("Mul", [d, d], "/loss")], "/loss", to="loss", keepdims=0)
    return g.model()


def ints(*values):
    return np.array(values, np.int64)
