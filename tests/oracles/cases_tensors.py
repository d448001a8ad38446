"""Cases on tensors: matrix products, indexing, elementwise chains."""

import jax
import numpy as np
from jax import numpy as jnp

from cases import Case, Random, case, cross_entropy, ints, mean_ce, mean_square, normalize, start


@case
def matmul_broadcast():
    """MatMul [2,1,3,4] by [5,4,6], then by a vector, and a vector by a batch"""
    r = Random(201)
    p = {"net.w": r.normal(5, 4, 6), "net.v": r.normal(6), "net.u": r.normal(3)}
    i = {"x": r.normal(2, 1, 3, 4), "y": r.normal(2, 5)}
    g = start(p, i)
    h = g.op("Tanh", [g.op("MatMul", ["x", "net.w"])])  # [2, 5, 3, 6]
    h = g.op("MatMul", ["net.u", g.op("Mul", [h, "net.v"])])  # [2, 5, 6]
    h = g.op("MatMul", [h, "net.v"])  # [2, 5]

    def loss(p, i):
        h = jnp.tanh(i["x"] @ p["net.w"])
        h = jnp.einsum("c,abcd->abd", p["net.u"], h * p["net.v"]) @ p["net.v"]
        return ((h - i["y"]) ** 2).mean()

    return Case(p, i, mean_square(g, h, "y"), loss)


@case
def gemm_forms():
    """Gemm with alpha, beta, transA, transB; C absent, of shape [1], [N,1] and [M]"""
    r = Random(202)
    p = {
        "net.a.weight": r.normal(4, 6),
        "net.a.bias": r.normal(5, 1),
        "net.b.weight": r.normal(6, 3),
        "net.c.weight": r.normal(4, 3),
        "net.c.bias": r.normal(1),
        "net.d.weight": r.normal(4, 4),
        "net.d.bias": r.normal(4),
    }
    i = {"x": r.normal(4, 5), "y": r.labels(4, 5)}
    g = start(p, i)
    h = g.op("Gemm", ["x", "net.a.weight", "net.a.bias"], "/net/a", alpha=0.5, beta=2.0, transA=1)
    h = g.op("Gemm", [g.op("Tanh", [h]), "net.b.weight"], "/net/b", alpha=0.3)
    h = g.op("Gemm", [h, "net.c.weight", "net.c.bias"], "/net/c", beta=-1.5, transB=1)
    h = g.op("Gemm", [h, "net.d.weight", "net.d.bias"], "/net/d")
    cross_entropy(g, h, "y")
    alpha = float(np.float32(0.3))

    def loss(p, i):
        h = jnp.tanh(0.5 * (i["x"].T @ p["net.a.weight"]) + 2 * p["net.a.bias"])
        h = alpha * (h @ p["net.b.weight"])
        h = h @ p["net.c.weight"].T - 1.5 * p["net.c.bias"]
        return mean_ce(h @ p["net.d.weight"] + p["net.d.bias"], i["y"])

    return Case(p, i, g.model(), loss)


@case
def attention():
    """Two causal softmax heads; the exact gradient of the key bias is 0"""
    r = Random(203)
    p = {}
    for name in ("q", "k", "v", "o"):
        p[f"net.{name}.weight"] = r.normal(8, 8, scale=0.5)
        p[f"net.{name}.bias"] = r.normal(8, scale=0.2)
    p |= {"net.fc.weight": r.normal(3, 8, scale=0.5), "net.fc.bias": r.normal(3, scale=0.1)}
    i = {"x": r.normal(2, 5, 8), "y": r.labels(3, 2)}
    g = start(p, i)
    mask = np.triu(np.full((5, 5), -1e4, np.float32), 1)
    root = np.float32(2)

    def project(h, name):
        scope = f"/net/{name}"
        w = g.op("Transpose", [f"net.{name}.weight"], scope, perm=[1, 0])
        return g.op("Add", [g.op("MatMul", [h, w], scope), f"net.{name}.bias"], scope)

    def heads(name, perm):
        h = g.op("Reshape", [project("x", name), g.const(ints(0, 0, 2, -1))])
        return g.op("Transpose", [h], perm=perm)

    q, k, v = heads("q", [0, 2, 1, 3]), heads("k", [0, 2, 3, 1]), heads("v", [0, 2, 1, 3])
    s = g.op("Div", [g.op("MatMul", [q, k]), g.const(root)])
    s = g.op("Softmax", [g.op("Add", [s, g.const(mask)])], axis=-1)
    h = g.op("Transpose", [g.op("MatMul", [s, v])], perm=[0, 2, 1, 3])
    h = project(g.op("Reshape", [h, g.const(ints(2, 5, 8))]), "o")
    h = g.op("ReduceMean", [g.op("Add", [h, "x"])], axes=[1], keepdims=0)
    h = g.op("Gemm", [h, "net.fc.weight", "net.fc.bias"], "/net/fc", transB=1)
    cross_entropy(g, h, "y")

    def loss(p, i):
        def split(name):
            h = i["x"] @ p[f"net.{name}.weight"].T + p[f"net.{name}.bias"]
            return h.reshape(2, 5, 2, 4)

        s = jnp.einsum("nqhd,nkhd->nhqk", split("q"), split("k")) / 2 + mask
        h = jnp.einsum("nhqk,nkhd->nqhd", jax.nn.softmax(s, -1), split("v")).reshape(2, 5, 8)
        h = h @ p["net.o.weight"].T + p["net.o.bias"] + i["x"]
        return mean_ce(h.mean(1) @ p["net.fc.weight"].T + p["net.fc.bias"], i["y"])

    return Case(p, i, g.model(), loss)


@case
def index_mix():
    """Gather with repeats, Slice with a negative step, Concat, Expand, Split, Transpose, Pad"""
    r = Random(204)
    p = {"net.table": r.normal(7, 4), "net.row": r.normal(1, 4), "net.unused": r.normal(2)}
    i = {"ids": ints(3, 0, 3, 6, 3, 0).reshape(2, 3), "y": r.normal(2, 4, 9)}
    g = start(p, i)
    e = g.op("Gather", ["net.table", "ids"], "/net/embed", axis=0)  # [2, 3, 4]
    # starts, ends, axes, steps: columns 3 and 1
    s = g.op("Slice", [e] + [g.const(ints(v)) for v in (-1, -4, 2, -2)])
    w = g.op("Expand", ["net.row", g.const(ints(2, 3, 4))])
    c = g.op("Concat", [s, w, e], axis=2)  # [2, 3, 10]
    a, b = g.op("Split", [c, g.const(ints(4, 6))], outputs=2, axis=-1)
    last = g.op("Gather", [b, g.const(ints(-1, 0, -1))], axis=2)  # [2, 3, 3]
    t = g.op("Transpose", [a], perm=[0, 2, 1])  # [2, 4, 3]
    u = g.op("Unsqueeze", [g.op("Gather", [last, g.const(np.int64(1))], axis=1), g.const(ints(1))])
    h = g.op("Mul", [t, u])  # [2, 4, 3] by [2, 1, 3]
    h = g.op("Pad", [h, g.const(ints(0, 0, 2, 0, 0, 1))], mode="constant")  # [2, 4, 6]
    h = g.op("Concat", [h, t], axis=-1)  # [2, 4, 9]

    def loss(p, i):
        e = p["net.table"][i["ids"]]
        w = jnp.broadcast_to(p["net.row"], (2, 3, 4))
        c = jnp.concatenate([e[:, :, jnp.array([3, 1])], w, e], 2)
        a, b = c[:, :, :4], c[:, :, 4:]
        last = b[:, :, jnp.array([5, 0, 5])]
        t = a.transpose(0, 2, 1)
        h = jnp.pad(t * last[:, 1][:, None, :], ((0, 0), (0, 0), (2, 1)))
        return ((jnp.concatenate([h, t], -1) - i["y"]) ** 2).mean()

    return Case(p, i, mean_square(g, h, "y"), loss)


@case
def pow_chain():
    """Pow (2, 3, 0.5, -1), Sqrt, Exp, Log, Reciprocal, Div, Abs, Neg, reductions"""
    r = Random(205)
    p = {"net.a": r.uniform(0.5, 2, 3, 4), "net.b": r.normal(4, scale=0.7), "net.c": r.normal(1)}
    i = {"x": r.uniform(0.2, 1.5, 3, 4)}
    g = start(p, i)
    half, one, minus = (g.const(np.float32(v)) for v in (0.5, 1, -1))
    two, three = (g.const(np.float32(v)) for v in (2, 3))
    h = g.op("Sqrt", [g.op("Add", [g.op("Pow", [g.op("Mul", ["net.a", "x"]), two]), half])])
    e = g.op("Exp", [g.op("Neg", [g.op("Abs", ["net.b"])])])
    q = g.op("Div", [g.op("Pow", ["net.b", three]), g.op("Add", [h, e])])
    n = g.op("Log", [g.op("Add", [g.op("Mul", [q, q]), one])])
    s = g.op("Pow", [g.op("Add", [n, e]), half])
    t = g.op("Reciprocal", [g.op("Pow", [g.op("Add", [s, "net.a"]), minus])])
    n = g.op("ReduceL2", [g.op("Sub", [t, "net.c"])], axes=[1], keepdims=1)
    f = g.op("ReduceLogSumExp", [g.op("Div", [t, n])], axes=[0], keepdims=0)
    g.op("ReduceSum", [g.op("Mul", [f, "net.b"])], "/loss", to="loss", keepdims=0)

    def loss(p, i):
        h = jnp.sqrt((p["net.a"] * i["x"]) ** 2 + 0.5)
        e = jnp.exp(-jnp.abs(p["net.b"]))
        q = p["net.b"] ** 3 / (h + e)
        s = jnp.sqrt(jnp.log(q * q + 1) + e)
        t = s + p["net.a"]
        n = jnp.sqrt(((t - p["net.c"]) ** 2).sum(1, keepdims=True))
        return (jax.nn.logsumexp(t / n, 0) * p["net.b"]).sum()

    return Case(p, i, g.model(), loss)


@case
def activations():
    """LeakyRelu, Elu, Softplus, PRelu (slope per channel), erf GELU, SiLU, hard swish"""
    r = Random(206)
    p = {"net.w": r.normal(4, 5), "net.prelu.weight": r.uniform(0.1, 0.4, 5)}
    i = {"x": r.normal(3, 4), "y": r.normal(3, 5)}
    g = start(p, i)
    root, one, half = (g.const(np.float32(v)) for v in (np.sqrt(2), 1, 0.5))
    three, zero, six = (g.const(np.float32(v)) for v in (3, 0, 6))
    z = g.op("MatMul", ["x", "net.w"])
    h = g.op("LeakyRelu", [z], alpha=0.01)
    h = g.op("Add", [h, g.op("Elu", [z], alpha=1.0)])
    h = g.op("Add", [h, g.op("Softplus", [z])])
    h = g.op("Add", [h, g.op("PRelu", [z, "net.prelu.weight"])])
    erf = g.op("Add", [g.op("Erf", [g.op("Div", [z, root])]), one])
    h = g.op("Add", [h, g.op("Mul", [g.op("Mul", [z, erf]), half])])
    h = g.op("Add", [h, g.op("Mul", [z, g.op("Sigmoid", [z])])])
    gate = g.op("Div", [g.op("Clip", [g.op("Add", [z, three]), zero, six]), six])
    h = g.op("Add", [h, g.op("Mul", [z, gate])])
    slope = float(np.float32(0.01))
    root2 = float(np.float32(np.sqrt(2)))

    def loss(p, i):
        z = i["x"] @ p["net.w"]
        h = jnp.where(z >= 0, z, slope * z) + jnp.where(z > 0, z, jnp.expm1(z))
        h += jnp.log1p(jnp.exp(z)) + jnp.where(z < 0, p["net.prelu.weight"] * z, z)
        h += z * (jax.scipy.special.erf(z / root2) + 1) / 2 + z * jax.nn.sigmoid(z)
        h += z * jnp.clip(z + 3, 0, 6) / 6
        return ((h - i["y"]) ** 2).mean()

    return Case(p, i, mean_square(g, h, "y"), loss)


@case
def select():
    """Where with a computed mask, Max, Min, ReduceMax; one parameter used thrice"""
    r = Random(217)
    p = {"net.w": r.normal(4, 4), "net.b": r.normal(4)}
    i = {"x": r.normal(3, 4), "y": r.normal(3, 4)}
    g = start(p, i)
    mask = g.op("Greater", ["x", g.const(np.float32(0.25))])
    a = g.op("MatMul", ["x", "net.w"])
    t = g.op("Transpose", ["net.w"], perm=[1, 0])
    b = g.op("Add", [g.op("MatMul", [g.op("Relu", [a]), t]), "net.b"])
    h = g.op("Where", [mask, a, b])
    h = g.op("Min", [g.op("Max", [h, "net.b"]), g.op("Add", [b, g.const(np.float32(1.5))])])
    top = g.op("ReduceMax", [a], axes=[1], keepdims=1)
    h = g.op("Sub", [h, g.op("Mul", [top, g.op("Gather", ["net.w", g.const(np.int64(-2))])])])

    def loss(p, i):
        a = i["x"] @ p["net.w"]
        b = jax.nn.relu(a) @ p["net.w"].T + p["net.b"]
        h = jnp.where(i["x"] > 0.25, a, b)
        h = jnp.minimum(jnp.maximum(h, p["net.b"]), b + 1.5)
        h = h - a.max(1, keepdims=True) * p["net.w"][-2]
        return ((h - i["y"]) ** 2).mean()

    return Case(p, i, mean_square(g, h, "y"), loss)


@case
def embedding_norm():
    """Two embeddings, LayerNormalization written out as torch did before opset 17"""
    r = Random(213)
    p = {
        "net.tok.weight": r.normal(9, 6),
        "net.pos.weight": r.normal(4, 6),
        "net.ln.weight": r.uniform(0.5, 1.5, 6),
        "net.ln.bias": r.normal(6, scale=0.2),
    }
    i = {"ids": r.labels(9, 3, 4), "y": r.normal(3, 6)}
    g = start(p, i)
    h = g.op("Add", [g.op("Gather", ["net.tok.weight", "ids"], "/net/tok"), "net.pos.weight"])
    d = g.op("Sub", [h, g.op("ReduceMean", [h], "/net/ln", axes=[-1])], "/net/ln")
    v = g.op(
        "ReduceMean", [g.op("Pow", [d, g.const(np.float32(2))], "/net/ln")], "/net/ln", axes=[-1]
    )
    s = g.op("Sqrt", [g.op("Add", [v, g.const(np.float32(1e-12))], "/net/ln")], "/net/ln")
    h = g.op("Mul", [g.op("Div", [d, s], "/net/ln"), "net.ln.weight"], "/net/ln")
    h = g.op("Tanh", [g.op("Add", [h, "net.ln.bias"], "/net/ln")])
    h = g.op("ReduceMean", [h], axes=[1], keepdims=0)

    def loss(p, i):
        h = p["net.tok.weight"][i["ids"]] + p["net.pos.weight"]
        h = normalize(h, -1, 1e-12) * p["net.ln.weight"] + p["net.ln.bias"]
        return ((jnp.tanh(h).mean(1) - i["y"]) ** 2).mean()

    return Case(p, i, mean_square(g, h, "y"), loss)
