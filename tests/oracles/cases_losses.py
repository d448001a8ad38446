"""Cases on losses, and on the forms that operators had in older and newer opsets."""

import jax
import numpy as np
from jax import numpy as jnp

from cases import Case, Random, case, cross_entropy, ints, mean_square, pick, start


def linear_logits(r, classes, inputs, rows):
    p = {"net.fc.weight": r.normal(classes, inputs), "net.fc.bias": r.normal(classes)}
    return p, {"x": r.normal(rows, inputs), "y": r.labels(classes, rows)}


@case
def ce_weighted_ignore():
    """SoftmaxCrossEntropyLoss over [N,C,d] with class weights and ignore_index -1, mean"""
    r = Random(208)
    p = {"net.c.weight": r.normal(4, 2, 3), "net.c.bias": r.normal(4)}
    labels = r.labels(4, 3, 6)
    labels[0, 2] = labels[1, 0] = labels[1, 5] = -1
    weights = r.uniform(0.3, 2, 4)
    i = {"x": r.normal(3, 2, 6), "y": labels}
    g = start(p, i)
    h = g.op("Conv", ["x", "net.c.weight", "net.c.bias"], "/net/c", pads=[1, 1])
    cross_entropy(g, h, "y", more=[g.const(weights, "/loss")], ignore_index=-1)

    def loss(p, i):
        x = jnp.pad(i["x"], ((0, 0), (0, 0), (1, 1)))
        x = jnp.stack([x[:, :, k : k + 6] for k in range(3)])  # [3 taps, N, C, 6]
        h = jnp.einsum("mck,kncl->nml", p["net.c.weight"], x) + p["net.c.bias"][None, :, None]
        w = jnp.where(i["y"] < 0, 0.0, jnp.asarray(weights, jnp.float64)[i["y"]])
        return -(w * pick(jax.nn.log_softmax(h, 1), jnp.maximum(i["y"], 0))).sum() / w.sum()

    return Case(p, i, g.model(), loss)


@case
def nll_sum():
    """LogSoftmax, then NegativeLogLikelihoodLoss with reduction sum"""
    p, i = linear_logits(Random(209), 5, 3, 6)
    g = start(p, i)
    h = g.op("Gemm", ["x", "net.fc.weight", "net.fc.bias"], "/net/fc", transB=1)
    h = g.op("LogSoftmax", [h], axis=1)
    g.op("NegativeLogLikelihoodLoss", [h, "y"], "/loss", to="loss", reduction="sum")

    def loss(p, i):
        h = i["x"] @ p["net.fc.weight"].T + p["net.fc.bias"]
        return -pick(jax.nn.log_softmax(h, 1), i["y"]).sum()

    return Case(p, i, g.model(), loss)


@case
def ce_none():
    """SoftmaxCrossEntropyLoss with reduction none, weighted per sample by an input, ReduceSum"""
    p, i = linear_logits(Random(210), 4, 3, 5)
    i["weight"] = Random(211).uniform(0, 2, 5)
    g = start(p, i)
    h = g.op("Gemm", ["x", "net.fc.weight", "net.fc.bias"], "/net/fc", transB=1)
    h = g.op("SoftmaxCrossEntropyLoss", [h, "y"], "/loss", reduction="none")
    g.op("ReduceSum", [g.op("Mul", [h, "weight"])], "/loss", to="loss", keepdims=0)

    def loss(p, i):
        h = i["x"] @ p["net.fc.weight"].T + p["net.fc.bias"]
        return -(pick(jax.nn.log_softmax(h, 1), i["y"]) * i["weight"]).sum()

    return Case(p, i, g.model(), loss)


@case
def opset9():
    """Opset 9: attributes of Clip, Slice, Squeeze, Pad, Split, ReduceSum; flat Softmax"""
    r = Random(214)
    p = {
        "net.w": r.normal(3, 4, scale=1.5),
        "net.bn.weight": r.uniform(0.5, 1.5, 2),
        "net.bn.bias": r.normal(2),
        "net.bn.running_mean": r.normal(2),
        "net.bn.running_var": r.uniform(0.5, 2, 2),
        "net.fc.weight": r.normal(10, 3, scale=0.5),
        "net.fc.bias": r.normal(3),
    }
    i = {"x": r.normal(4, 3), "y": np.eye(3, dtype=np.float32)[r.labels(3, 4)]}
    g = start(p, i, opset=9, ir=4)
    h = g.op("Clip", [g.op("MatMul", ["x", "net.w"])], min=-1.0, max=1.5)  # [4, 4]
    h = g.op("Unsqueeze", [h], axes=[1, 3])  # [4, 1, 4, 1]
    h = g.op("Pad", [h], mode="constant", pads=[0, 0, 1, 0, 0, 0, 0, 0], value=0.5)  # [4, 1, 5, 1]
    h = g.op("Concat", [h, h], axis=1)  # [4, 2, 5, 1]
    bn = [f"net.bn.{k}" for k in ("weight", "bias", "running_mean", "running_var")]
    h = g.op("BatchNormalization", [h, *bn], "/net/bn", epsilon=1e-5)
    h = g.op("Squeeze", [h], axes=[3])  # [4, 2, 5]
    # before opset 13 Softmax with axis 1 normalises over all the axes from 1 on
    h = g.op("Softmax", [h], axis=1)
    a, b = g.op("Split", [h], outputs=2, axis=1, split=[1, 1])
    h = g.op(
        "Concat", [g.op("Exp", [a]), g.op("Slice", [b], axes=[2], starts=[1], ends=[9])], axis=2
    )
    h = g.op("ReduceSum", [h], axes=[1], keepdims=0)  # [4, 9]
    h = g.op("Concat", [h, g.op("Slice", ["x"], axes=[-1], starts=[-1], ends=[99])], axis=1)
    h = g.op("Gemm", [h, "net.fc.weight", "net.fc.bias"], "/net/fc")
    h = g.op("ReduceSum", [g.op("Mul", [g.op("LogSoftmax", [h]), "y"])], axes=[1], keepdims=0)
    g.op("Neg", [g.op("ReduceMean", [h], keepdims=0)], "/loss", to="loss")

    def loss(p, i):
        h = jnp.clip(i["x"] @ p["net.w"], -1, 1.5)
        h = jnp.pad(h, ((0, 0), (1, 0)), constant_values=0.5)
        h = jnp.stack([h, h], 1)
        scale, bias, mean, var = (p[k][None, :, None] for k in bn)
        h = (h - mean) / jnp.sqrt(var + float(np.float32(1e-5))) * scale + bias
        h = jax.nn.softmax(h.reshape(4, 10), 1).reshape(4, 2, 5)
        h = jnp.concatenate([jnp.exp(h[:, 0]), h[:, 1, 1:], i["x"][:, 2:]], 1)
        h = jax.nn.log_softmax(h @ p["net.fc.weight"] + p["net.fc.bias"], 1)
        return -(h * i["y"]).sum(1).mean()

    return Case(p, i, g.model(), loss, ("net.bn.running_mean", "net.bn.running_var"))


@case
def opset20():
    """Opset 20: axes of reductions as inputs, Split by num_outputs, Pad with axes, Gelu (both)"""
    r = Random(215)
    p = {"net.w": r.normal(4, 7, scale=0.7), "net.b": r.normal(7)}
    i = {"x": r.normal(2, 3, 4), "y": r.normal(2, 5)}
    g = start(p, i, opset=20, ir=9)
    h = g.op("Add", [g.op("MatMul", ["x", "net.w"]), "net.b"])  # [2, 3, 7]
    # parts of 3, 3 and 1
    a, b, c = g.op("Split", [h], outputs=3, axis=-1, num_outputs=3)
    a = g.op("Gelu", [a])
    b = g.op("Gelu", [b], approximate="tanh")
    h = g.op("Mul", [g.op("Sub", [a, b]), c])  # [2, 3, 3]
    h = g.op("ReduceMean", [h, g.const(ints(1))], keepdims=0)  # [2, 3]
    s = g.op("ReduceSumSquare", [c, g.const(ints(-2, -1))], keepdims=0)  # [2]
    s = g.op("Unsqueeze", [s, g.const(ints(-1))])
    s = g.op("ReduceMean", [s], noop_with_empty_axes=1)
    h = g.op("Div", [h, g.op("Add", [s, g.const(np.float32(1))])])
    pads = [g.const(ints(1, 1)), g.const(np.float32(0.25)), g.const(ints(1))]
    h = g.op("Pad", [h, *pads], mode="constant")  # [2, 5]

    def loss(p, i):
        h = i["x"] @ p["net.w"] + p["net.b"]
        a = jax.nn.gelu(h[:, :, :3], approximate=False)
        b = jax.nn.gelu(h[:, :, 3:6], approximate=True)
        c = h[:, :, 6:]
        h = ((a - b) * c).mean(1) / ((c**2).sum((1, 2))[:, None] + 1)
        h = jnp.pad(h, ((0, 0), (1, 1)), constant_values=0.25)
        return ((h - i["y"]) ** 2).mean()

    return Case(p, i, mean_square(g, h, "y"), loss)
