"""Cases on images: convolution, pooling, normalization."""

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from cases import Case, Random, case, conv, cross_entropy, linear, mean_ce
from cases import normalize, per_channel, start, windows


def dense(r, name, outputs, inputs):
    return {
        f"{name}.weight": r.normal(outputs, inputs, scale=inputs**-0.5),
        f"{name}.bias": r.normal(outputs, scale=0.1),
    }


def apply_dense(p, name, h):
    return h.reshape(len(h), -1) @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def finish(g, h, name="net.fc"):
    """Flatten, Gemm, mean cross entropy."""
    h = g.op("Flatten", [h], axis=1)
    cross_entropy(g, linear(g, h, name, "/" + name.replace(".", "/")), "y")
    return g.model()


@case
def conv_grouped():
    """Conv: two groups, strides [2, 1], dilations [1, 2], pads [1, 0, 2, 1]; then SAME_UPPER"""
    r = Random(101)
    p = {
        "net.a.weight": r.normal(6, 2, 3, 2, scale=0.4),
        "net.a.bias": r.normal(6, scale=0.1),
        "net.b.weight": r.normal(5, 6, 2, 3, scale=0.3),
    } | dense(r, "net.fc", 3, 5 * 2 * 3)
    i = {"x": r.normal(2, 4, 7, 6), "y": r.labels(3, 2)}
    g = start(p, i)
    a = dict(strides=[2, 1], pads=[1, 0, 2, 1], dilations=[1, 2])
    h = g.op("Conv", ["x", "net.a.weight", "net.a.bias"], "/net/a", group=2, **a)
    h = g.op("Tanh", [h])
    h = g.op("Conv", [h, "net.b.weight"], "/net/b", auto_pad="SAME_UPPER", strides=[2, 2])

    def loss(p, i):
        h = jnp.tanh(conv(i["x"], p["net.a.weight"], p["net.a.bias"], group=2, **a))
        # SAME_UPPER on 4 x 5 by 2 x 3, stride 2: no padding above, one column on each side
        h = conv(h, p["net.b.weight"], strides=(2, 2), pads=[0, 1, 0, 1])
        return mean_ce(apply_dense(p, "net.fc", h), i["y"])

    return Case(p, i, finish(g, h), loss)


@case
def conv_1d():
    """Conv in one dimension: stride 2, dilation 2, pads [3, 1]"""
    r = Random(102)
    p = {"net.c.weight": r.normal(4, 2, 3, scale=0.5), "net.c.bias": r.normal(4, scale=0.1)}
    p |= dense(r, "net.fc", 3, 4 * 5)
    i = {"x": r.normal(3, 2, 9), "y": r.labels(3, 3)}
    g = start(p, i)
    a = dict(strides=[2], pads=[3, 1], dilations=[2])
    h = g.op("Conv", ["x", "net.c.weight", "net.c.bias"], "/net/c", **a)
    h = g.op("Sigmoid", [h])

    def loss(p, i):
        h = jax.nn.sigmoid(conv(i["x"], p["net.c.weight"], p["net.c.bias"], **a))
        return mean_ce(apply_dense(p, "net.fc", h), i["y"])

    return Case(p, i, finish(g, h), loss)


@case
def conv_3d():
    """Conv in three dimensions, strides [1, 2, 1]; GlobalAveragePool over them"""
    r = Random(103)
    p = {"net.c.weight": r.normal(4, 2, 2, 3, 2, scale=0.3), "net.c.bias": r.normal(4, scale=0.1)}
    p |= dense(r, "net.fc", 3, 4)
    i = {"x": r.normal(2, 2, 3, 5, 4), "y": r.labels(3, 2)}
    g = start(p, i)
    a = dict(strides=[1, 2, 1], pads=[0, 1, 1, 0, 1, 0])
    h = g.op("Conv", ["x", "net.c.weight", "net.c.bias"], "/net/c", **a)
    h = g.op("GlobalAveragePool", [g.op("Relu", [h])])

    def loss(p, i):
        h = jax.nn.relu(conv(i["x"], p["net.c.weight"], p["net.c.bias"], **a)).mean((2, 3, 4))
        return mean_ce(apply_dense(p, "net.fc", h), i["y"])

    return Case(p, i, finish(g, h), loss)


@case
def mobilenet_clip():
    """Clip(0, 6), depthwise and pointwise Conv without bias, BatchNormalization in training mode"""
    r = Random(104)
    p = {
        "net.stem.weight": r.normal(6, 3, 3, 3, scale=1.2),
        "net.depthwise.weight": r.normal(6, 1, 3, 3, scale=0.8),
        "net.pointwise.weight": r.normal(8, 6, 1, 1, scale=0.4),
        "net.bn.weight": r.uniform(0.5, 1.5, 8),
        "net.bn.bias": r.normal(8, scale=0.2),
        "net.bn.running_mean": np.zeros(8, np.float32),
        "net.bn.running_var": np.ones(8, np.float32),
    } | dense(r, "net.fc", 4, 8)
    i = {"x": r.normal(3, 3, 8, 8), "y": r.labels(4, 3)}
    g = start(p, i)

    def clip(h):
        scope = "/net"
        bounds = [g.const(np.float32(0), scope), g.const(np.float32(6), scope)]
        return g.op("Clip", [h, *bounds], scope)

    pads = [1, 1, 1, 1]
    h = clip(g.op("Conv", ["x", "net.stem.weight"], "/net/stem", strides=[2, 2], pads=pads))
    h = clip(g.op("Conv", [h, "net.depthwise.weight"], "/net/depthwise", group=6, pads=pads))
    h = g.op("Conv", [h, "net.pointwise.weight"], "/net/pointwise")
    bn = [f"net.bn.{k}" for k in ("weight", "bias", "running_mean", "running_var")]
    h = g.op(
        "BatchNormalization", [h, *bn], "/net/bn", 3, epsilon=1e-3, momentum=0.9, training_mode=1
    )[0]
    h = g.op("GlobalAveragePool", [clip(h)])

    def loss(p, i):
        h = jnp.clip(conv(i["x"], p["net.stem.weight"], strides=(2, 2), pads=pads), 0, 6)
        h = jnp.clip(conv(h, p["net.depthwise.weight"], pads=pads, group=6), 0, 6)
        h = normalize(conv(h, p["net.pointwise.weight"]), (0, 2, 3), 1e-3)
        h = h * per_channel(p["net.bn.weight"], h) + per_channel(p["net.bn.bias"], h)
        h = jnp.clip(h, 0, 6).mean((2, 3))
        return mean_ce(apply_dense(p, "net.fc", h), i["y"])

    buffers = ("net.bn.running_mean", "net.bn.running_var")
    return Case(p, i, finish(g, h), loss, buffers)


@case
def bn_eval():
    """BatchNormalization in inference mode: running statistics are constants"""
    r = Random(105)
    p = {
        "net.c.weight": r.normal(4, 2, 3, 3, scale=0.4),
        "net.c.bias": r.normal(4, scale=0.1),
        "net.bn.weight": r.uniform(0.5, 1.5, 4),
        "net.bn.bias": r.normal(4, scale=0.2),
        "net.bn.running_mean": r.normal(4, scale=0.3),
        "net.bn.running_var": r.uniform(0.4, 2, 4),
    } | dense(r, "net.fc", 3, 4 * 9)
    i = {"x": r.normal(3, 2, 5, 5), "y": r.labels(3, 3)}
    g = start(p, i)
    h = g.op("Conv", ["x", "net.c.weight", "net.c.bias"], "/net/c")
    bn = [f"net.bn.{k}" for k in ("weight", "bias", "running_mean", "running_var")]
    h = g.op("BatchNormalization", [h, *bn], "/net/bn", epsilon=1e-5, momentum=0.9)
    h = g.op("Relu", [h])

    def loss(p, i):
        h = conv(i["x"], p["net.c.weight"], p["net.c.bias"])
        scale, bias, mean, var = (per_channel(p[k], h) for k in bn)
        h = (h - mean) / jnp.sqrt(var + float(np.float32(1e-5))) * scale + bias
        return mean_ce(apply_dense(p, "net.fc", jax.nn.relu(h)), i["y"])

    return Case(p, i, finish(g, h), loss, ("net.bn.running_mean", "net.bn.running_var"))


@case
def pool_pads():
    """AveragePool with count_include_pad 0 and 1, asymmetric pads; MaxPool with ceil_mode"""
    r = Random(106)
    p = {"net.c.weight": r.normal(4, 1, 3, 3, scale=0.5), "net.c.bias": r.normal(4, scale=0.1)}
    p |= dense(r, "net.fc", 3, 4 * 10)
    i = {"x": r.normal(2, 1, 10, 9), "y": r.labels(3, 2)}
    g = start(p, i)
    h = g.op("Conv", ["x", "net.c.weight", "net.c.bias"], "/net/c", pads=[1, 1, 1, 1])
    h = g.op(
        "AveragePool",
        [h],
        kernel_shape=[3, 2],
        pads=[1, 0, 0, 1],
        strides=[1, 1],
        count_include_pad=0,
    )
    h = g.op(
        "AveragePool",
        [g.op("Tanh", [h])],
        kernel_shape=[2, 3],
        pads=[0, 1, 1, 1],
        strides=[2, 1],
        count_include_pad=1,
    )
    h = g.op("MaxPool", [h], kernel_shape=[3, 2], pads=[1, 0, 0, 0], strides=[3, 2], ceil_mode=1)

    def loss(p, i):
        h = conv(i["x"], p["net.c.weight"], p["net.c.bias"], pads=[1, 1, 1, 1])
        window = dict(kernel=(3, 2), strides=(1, 1), pads=((1, 0), (0, 1)))
        count = windows(jnp.ones_like(h), 0.0, lax.add, **window)
        h = jnp.tanh(windows(h, 0.0, lax.add, **window) / count)
        h = windows(h, 0.0, lax.add, (2, 3), (2, 1), ((0, 1), (1, 1))) / 6
        # ceil_mode: 9 columns make 5 windows, the last of them one column wide
        h = windows(h, -jnp.inf, lax.max, (3, 2), (3, 2), ((1, 0), (0, 1)))
        return mean_ce(apply_dense(p, "net.fc", h), i["y"])

    return Case(p, i, finish(g, h), loss)


@case
def norms():
    """InstanceNormalization, then LayerNormalization over the last two axes, scale and bias"""
    r = Random(107)
    p = {
        "net.in.weight": r.uniform(0.5, 1.5, 3),
        "net.in.bias": r.normal(3, scale=0.2),
        "net.ln.weight": r.uniform(0.5, 1.5, 4, 5),
        "net.ln.bias": r.normal(4, 5, scale=0.2),
    } | dense(r, "net.fc", 3, 60)
    i = {"x": r.normal(2, 3, 4, 5), "y": r.labels(3, 2)}
    g = start(p, i)
    names = ["net.in.weight", "net.in.bias"]
    h = g.op("InstanceNormalization", ["x", *names], "/net/in", epsilon=1e-5)
    h = g.op("Sigmoid", [h])
    names = ["net.ln.weight", "net.ln.bias"]
    h = g.op("LayerNormalization", [h, *names], "/net/ln", axis=-2, epsilon=1e-6)

    def loss(p, i):
        h = normalize(i["x"], (2, 3), 1e-5)
        h = h * per_channel(p["net.in.weight"], h) + per_channel(p["net.in.bias"], h)
        h = normalize(jax.nn.sigmoid(h), (2, 3), 1e-6)
        h = h * p["net.ln.weight"] + p["net.ln.bias"]
        return mean_ce(apply_dense(p, "net.fc", h), i["y"])

    return Case(p, i, finish(g, h), loss)
