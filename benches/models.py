"""Writes networks of realistic size with weights drawn from a recorded seed, and a batch for each.

    python models.py OUT [--net NAME]... [--batch N] [--layers N] [--seed N]

Weights are He-scaled normal draws (numpy's PCG64), batch normalisation is in inference mode with scale 1,
shift 0, mean 0 and variance 1, the last one of a residual branch scaled by a half; the loss is the
cross-entropy of drawn labels. Needs numpy and onnx.
"""

import argparse
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Net:
    """A graph under construction; every method returns the name of a value."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.nodes, self.weights, self.count = [], [], 0

    def op(self, kind, *inputs, **attributes):
        self.count += 1
        out = f"{kind.lower()}_{self.count}"
        self.nodes.append(helper.make_node(kind, list(inputs), [out], name=out, **attributes))
        return out

    def weight(self, name, values):
        self.weights.append(numpy_helper.from_array(np.asarray(values, dtype=np.float32), name))
        return name

    def he(self, name, shape, fan_in):
        return self.weight(name, self.rng.standard_normal(shape) * np.sqrt(2.0 / fan_in))

    def conv(self, x, cin, cout, k, stride=1, groups=1):
        w = self.he(f"conv{self.count}.weight", (cout, cin // groups, k, k), cin // groups * k * k)
        pad = k // 2
        return self.op("Conv", x, w, kernel_shape=[k, k], strides=[stride] * 2, pads=[pad] * 4, group=groups)

    def norm(self, x, c, scale=1.0):
        name = f"bn{self.count}"
        parts = [("weight", scale), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)]
        return self.op("BatchNormalization", x, *(self.weight(f"{name}.{p}", np.full(c, v)) for p, v in parts))

    def linear(self, x, cin, cout):
        name = f"fc{self.count}"
        w = self.he(f"{name}.weight", (cout, cin), cin)
        return self.op("Gemm", x, w, self.weight(f"{name}.bias", np.zeros(cout)), transB=1)


def classifier(net, x, channels, classes=1000):
    return net.linear(net.op("Flatten", net.op("GlobalAveragePool", x)), channels, classes)


def stem(net, x):
    x = net.op("Relu", net.norm(net.conv(x, 3, 64, 7, stride=2), 64))
    return net.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])


def resnet50(net):
    x, cin = stem(net, "x"), 64
    for stage, (width, blocks) in enumerate([(64, 3), (128, 4), (256, 6), (512, 3)]):
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            y = net.op("Relu", net.norm(net.conv(x, cin, width, 1), width))
            y = net.op("Relu", net.norm(net.conv(y, width, width, 3, stride), width))
            y = net.norm(net.conv(y, width, 4 * width, 1), 4 * width, 0.5)
            if block == 0:
                x = net.norm(net.conv(x, cin, 4 * width, 1, stride), 4 * width)
            x, cin = net.op("Relu", net.op("Add", y, x)), 4 * width
    return [3, 224, 224], classifier(net, x, cin)


def resnet18(net):
    x, cin = stem(net, "x"), 64
    for stage, width in enumerate([64, 128, 256, 512]):
        for block in range(2):
            stride = 2 if stage > 0 and block == 0 else 1
            y = net.op("Relu", net.norm(net.conv(x, cin, width, 3, stride), width))
            y = net.norm(net.conv(y, width, width, 3), width, 0.5)
            if stride == 2:
                x = net.norm(net.conv(x, cin, width, 1, stride), width)
            x, cin = net.op("Relu", net.op("Add", y, x)), width
    return [3, 224, 224], classifier(net, x, cin)


def mobilenetv2(net):
    def relu6(x):
        return net.op("Clip", x, "zero", "six")

    net.weight("zero", 0.0), net.weight("six", 6.0)
    x, cin = relu6(net.norm(net.conv("x", 3, 32, 3, 2), 32)), 32
    for expand, cout, blocks, first in [
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    ]:
        for block in range(blocks):
            stride, wide, y = (first if block == 0 else 1), cin * expand, x
            if expand > 1:
                y = relu6(net.norm(net.conv(y, cin, wide, 1), wide))
            y = relu6(net.norm(net.conv(y, wide, wide, 3, stride, groups=wide), wide))
            same = stride == 1 and cin == cout
            y = net.norm(net.conv(y, wide, cout, 1), cout, 0.5 if same else 1.0)
            x, cin = (net.op("Add", x, y) if same else y), cout
    x = relu6(net.norm(net.conv(x, cin, 1280, 1), 1280))
    return [3, 224, 224], classifier(net, x, 1280)


def mlp(net, layers):
    x, cin = "x", 784
    for _ in range(layers):
        x, cin = net.op("Relu", net.linear(x, cin, 512)), 512
    return [784], net.linear(x, cin, 10)


def transformer(net, batch, length=64, width=256, heads=4):
    """Two encoder layers, normalised first, over drawn embeddings."""
    each = width // heads

    def shape(*dims):
        name = f"shape{len(net.weights)}"
        net.weights.append(numpy_helper.from_array(np.array(dims, dtype=np.int64), name))
        return name

    def project(x, cin, cout):
        name = f"proj{net.count}"
        w = net.weight(f"{name}.weight", net.rng.standard_normal((cin, cout)) * np.sqrt(1.0 / cin))
        return net.op("Add", net.op("MatMul", x, w), net.weight(f"{name}.bias", np.zeros(cout)))

    def norm(x):
        name = f"ln{net.count}"
        parts = net.weight(f"{name}.weight", np.ones(width)), net.weight(f"{name}.bias", np.zeros(width))
        return net.op("LayerNormalization", x, *parts, axis=-1)

    def split(x, perm):
        return net.op("Transpose", net.op("Reshape", x, shape(batch, length, heads, each)), perm=perm)

    x = "x"
    for _ in range(2):
        h = norm(x)
        q, k, v = (project(h, width, width) for _ in range(3))
        scores = net.op("MatMul", split(q, [0, 2, 1, 3]), split(k, [0, 2, 3, 1]))
        scores = net.op("Mul", scores, net.weight(f"scale{net.count}", np.full((1, 1, 1, 1), each**-0.5)))
        mixed = net.op("MatMul", net.op("Softmax", scores, axis=-1), split(v, [0, 2, 1, 3]))
        mixed = net.op("Reshape", net.op("Transpose", mixed, perm=[0, 2, 1, 3]), shape(batch, length, width))
        x = net.op("Add", x, project(mixed, width, width))
        h = net.op("Relu", project(norm(x), width, 4 * width))
        x = net.op("Add", x, project(h, 4 * width, width))
    pooled = net.op("ReduceMean", norm(x), axes=[1], keepdims=0)
    return [length, width], net.linear(pooled, width, 10)


NETS = {"transformer": transformer, "mlp": mlp, "resnet18": resnet18, "resnet50": resnet50, "mobilenetv2": mobilenetv2}


def write(out, name, batch, seed, layers):
    net = Net(seed)
    options = {"mlp": [layers], "transformer": [batch]}.get(name, [])
    shape, logits = NETS[name](net, *options)
    classes = 10 if options else 1000
    net.nodes.append(helper.make_node("SoftmaxCrossEntropyLoss", [logits, "labels"], ["loss"], name="loss"))
    graph = helper.make_graph(
        net.nodes,
        name,
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *shape]),
            helper.make_tensor_value_info("labels", TensorProto.INT64, [batch]),
        ],
        [helper.make_tensor_value_info("loss", TensorProto.FLOAT, [])],
        net.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model.producer_name = "certify benches/models.py"
    helper.set_model_props(model, {"weights": f"He-scaled, seed {seed}"})
    onnx.checker.check_model(model)
    onnx.save(model, str(out / f"{name}.onnx"))
    rng = np.random.default_rng(seed + 1)
    np.savez(
        out / f"{name}.inputs.npz",
        x=rng.standard_normal([batch, *shape], dtype=np.float32),
        labels=rng.integers(0, classes, batch),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--net", action="append", choices=sorted(NETS))
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--layers", type=int, default=4, help="hidden layers of mlp")
    parser.add_argument("--seed", type=int, default=20261121)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for net_name in args.net or sorted(NETS):
        write(args.out, net_name, args.batch, args.seed, args.layers)
