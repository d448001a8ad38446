"""Training graphs as PyTorch's TorchScript exporter writes them, and their gradients in binary64.

Writes `tests/data/torch/<name>/`: `model.onnx`, exported as README.md says, `inputs.npz`, and
`grads_f64.npz`, PyTorch's autograd in binary64 at the same binary32 weights and inputs. Constants of the
nets are binary32 numbers, so that both differentiate the same function. Made with torch 2.15, numpy 2.

    python tests/oracles/make_torch.py [NAME..]
"""

import copy
import math
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

DATA = Path(__file__).resolve().parents[1] / "data" / "torch"
NETS = {}


def net(function):
    """Registers a function that makes a module, which returns the loss, and its inputs."""
    NETS[function.__name__] = function
    return function


class WithLoss(nn.Module):
    def __init__(self, net, loss):
        super().__init__()
        self.net, self.loss = net, loss

    def forward(self, *args):
        return self.loss(self.net(*args[:-1]), args[-1])


def smoothed(scores, labels):
    """Cross entropy with label smoothing ¼, written out: the exporter has no rule for it."""
    classes = scores.shape[1]
    target = F.one_hot(labels, classes).float() * 0.75 + 0.25 / classes
    return -(target * F.log_softmax(scores, 1)).sum(1).mean()


class Residual(nn.Module):
    def __init__(self, i, o, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(i, o, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(o)
        self.conv2 = nn.Conv2d(o, o, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(o)
        self.down = nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.down(x))


@net
def resnet():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, 1, 1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        Residual(4, 4, 1),
        Residual(4, 6, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 4),
    )
    return WithLoss(model, smoothed), (torch.randn(3, 3, 12, 12), torch.tensor([0, 3, 1]))


class Inverted(nn.Module):
    """Expansion, depthwise convolution, projection, squeeze and excitation."""

    def __init__(self, i, o, expand):
        super().__init__()
        h = i * expand
        self.body = nn.Sequential(
            nn.Conv2d(i, h, 1, bias=False),
            nn.BatchNorm2d(h),
            nn.ReLU6(),
            nn.Conv2d(h, h, 3, 1, 1, groups=h, bias=False),
            nn.BatchNorm2d(h),
            nn.SiLU(),
            nn.Conv2d(h, o, 1, bias=False),
            nn.BatchNorm2d(o),
        )
        self.squeeze = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(o, 2, 1), nn.ReLU(), nn.Conv2d(2, o, 1), nn.Sigmoid()
        )
        self.same = i == o

    def forward(self, x):
        y = self.body(x)
        y = y * self.squeeze(y)
        return x + y if self.same else y


@net
def mobilenet():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), Inverted(4, 4, 2), Inverted(4, 6, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(6, 4),
    )
    return WithLoss(model, nn.CrossEntropyLoss()), (torch.randn(2, 3, 10, 10), torch.tensor([2, 0]))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.lstm = nn.LSTM(4, 3, batch_first=True)
        self.gru = nn.GRU(3, 3, batch_first=True, bidirectional=True)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        y, _ = self.lstm(self.embed(x))
        y, h = self.gru(y)
        return self.head(y[:, -1] + torch.cat([h[-1], h[-2]], 1))


@net
def recurrent():
    return WithLoss(Recurrent(), nn.CrossEntropyLoss()), (torch.randint(0, 7, (2, 4)), torch.tensor([1, 2]))


class Decoder(nn.Module):
    """Causal attention, padding, and one matrix that embeds and scores."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(9, 8)
        self.place = nn.Parameter(torch.randn(5, 8) / 8)
        self.norm1, self.norm2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.SiLU(), nn.Linear(16, 8))
        self.register_buffer("seen", torch.tril(torch.ones(5, 5)).view(1, 1, 5, 5))

    def attend(self, x, padded):
        heads = [t.view(2, 5, 2, 4).transpose(1, 2) for t in self.qkv(x).split(8, 2)]
        scores = heads[0] @ heads[1].transpose(-2, -1) * 0.5
        scores = scores.masked_fill(self.seen == 0, -math.inf).masked_fill(padded[:, None, None], -math.inf)
        return self.out((F.softmax(scores, -1) @ heads[2]).transpose(1, 2).reshape(2, 5, 8))

    def forward(self, x):
        h = self.embed(x) + self.place
        h = h + self.attend(self.norm1(h), x == 8)
        h = h + self.mlp(self.norm2(h))
        return F.linear(h, self.embed.weight).transpose(1, 2)


@net
def decoder():
    x = torch.randint(0, 8, (2, 5))
    y = torch.randint(0, 8, (2, 5))
    x[0, 3:] = 8
    y[0, 3:] = -100
    return WithLoss(Decoder(), nn.CrossEntropyLoss(ignore_index=-100)), (x, y)


class UNet(nn.Module):
    def __init__(self):
        super().__init__()

        def block(i, o, norm):
            return nn.Sequential(nn.Conv2d(i, o, 3, padding=1), norm, nn.LeakyReLU(0.25))

        self.a = block(1, 4, nn.InstanceNorm2d(4, affine=True))
        self.b = block(4, 6, nn.GroupNorm(2, 6))
        self.c = block(6, 6, nn.GroupNorm(3, 6))
        self.up = nn.ConvTranspose2d(6, 6, 2, 2)
        self.d = block(12, 4, nn.InstanceNorm2d(4, affine=True))
        self.out = nn.Conv2d(8, 2, 1)

    def forward(self, x):
        a = self.a(x)
        b = self.b(F.max_pool2d(a, 2))
        c = self.up(self.c(F.avg_pool2d(b, 2)))
        d = self.d(torch.cat([c, b], 1))
        d = F.interpolate(d, scale_factor=2, mode="bilinear", align_corners=False)
        return self.out(torch.cat([d, a], 1))


@net
def unet():
    loss = nn.CrossEntropyLoss(weight=torch.tensor([0.25, 0.75]))
    return WithLoss(UNet(), loss), (torch.randn(2, 1, 8, 8), torch.randint(0, 2, (2, 8, 8)))


class Indexing(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(6, 5))
        self.v = nn.Parameter(torch.randn(4, 5))

    def forward(self, i, j):
        picked = self.w[i].sum(0) + torch.gather(self.w, 1, j).sum(0)
        scattered = torch.zeros(6, 5).scatter_add(0, j, self.w)
        written = self.w.clone()
        written[1:3] = self.v[:2]
        written = written.index_put((torch.tensor([0, 5]),), self.v[2:], accumulate=True)
        strided = F.pad(self.w[::2, [0, 2, 4]].sum(0), (1, 1))
        best = self.w.topk(2, 0)[0].sum(0) + self.v.max(1)[0].sum() + self.v.amin(0)
        means = torch.logsumexp(self.w, (0, 1)) + self.w.norm(dim=0) + self.v.std(0)
        pairs = torch.einsum("ij,kj->ik", self.w, self.v).flatten()[:5]
        parts = scattered.cumsum(0).sum(0) + written.flip(0).roll(1, 1)[1] + strided + best + means + pairs
        return picked + parts


@net
def indexing():
    inputs = (torch.tensor([0, 3, 3, 5]), torch.randint(0, 5, (6, 5)), torch.randn(5))
    return WithLoss(Indexing(), nn.MSELoss(reduction="sum")), inputs


class Boxes(nn.Module):
    """A detector's head and its loss: boxes on a grid, generalised overlap, objectness."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 12, 1)

    def forward(self, x):
        y = self.head(F.silu(self.body(x))).view(1, 2, 6, 4, 4).permute(0, 1, 3, 4, 2)
        rows, columns = torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")
        centre = (y[..., :2].sigmoid() * 2 - 0.5 + torch.stack([columns, rows], -1)) * 4
        anchors = torch.tensor([[3.0, 4.0], [5.0, 2.0]]).view(1, 2, 1, 1, 2)
        size = (y[..., 2:4].sigmoid() * 2) ** 2 * anchors
        return torch.cat([centre, size, y[..., 4:]], -1)


def overlap(p, t):
    t = torch.cat([t[..., :4].abs() * 4, t[..., 4:]], -1)
    low = torch.max(p[..., :2] - p[..., 2:4] / 2, t[..., :2] - t[..., 2:4] / 2)
    high = torch.min(p[..., :2] + p[..., 2:4] / 2, t[..., :2] + t[..., 2:4] / 2)
    sides = (high - low).clamp(min=0)
    shared = sides[..., 0] * sides[..., 1]
    union = p[..., 2] * p[..., 3] + t[..., 2] * t[..., 3] - shared + 0.0078125
    objects = F.binary_cross_entropy_with_logits(p[..., 4], (t[..., 4] > 0).float())
    return (1 - shared / union).mean() + objects


@net
def boxes():
    return WithLoss(Boxes(), overlap), (torch.randn(1, 3, 8, 8), torch.randn(1, 2, 4, 4, 6))


class Steps(nn.Module):
    """Functions that jump, beside ones that don't, and a count of hits among the losses."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(5, 6), nn.Linear(6, 4)
        self.scale = nn.Parameter(torch.tensor(0.375))

    def forward(self, x, y):
        z = self.a(x)
        q = torch.round(z / self.scale) * self.scale + torch.floor(z * 2) * z + torch.ceil(z)
        q = q + torch.remainder(z * 2.5, 1.0) + torch.sign(z) + (z * 3).to(torch.int64).float()
        s = self.b(torch.where(q > 0.5, q, z * 0.25))
        hits = (s.argmax(1) == y).float()
        picked = F.one_hot(s.argmin(1), 4).float() * s
        return (F.cross_entropy(s, y, reduction="none") * (1 + hits)).mean() + picked.sum()


@net
def steps():
    return Steps(), (torch.randn(6, 5), torch.randint(0, 4, (6,)))


def write_npz(path, arrays):
    """The same bytes for the same arrays."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(arrays):
            info = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(info, "w") as file:
                np.lib.format.write_array(file, np.asarray(arrays[name], order="C"), allow_pickle=False)


def make(name):
    torch.manual_seed(sum(map(ord, name)))
    model, inputs = NETS[name]()
    model = model.train()
    folder = DATA / name
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"in{i}" for i in range(len(inputs))]
    torch.onnx.export(
        copy.deepcopy(model), inputs, str(folder / "model.onnx"), dynamo=False, opset_version=17,
        training=torch.onnx.TrainingMode.TRAINING, do_constant_folding=False,
        input_names=names, output_names=["loss"],
    )
    write_npz(folder / "inputs.npz", {n: x.numpy() for n, x in zip(names, inputs)})
    torch.set_default_dtype(torch.float64)
    loss = model.double()(*[x.double() if x.is_floating_point() else x for x in inputs])
    loss.backward()
    torch.set_default_dtype(torch.float32)
    write_npz(folder / "grads_f64.npz", {n: p.grad.numpy() for n, p in model.named_parameters()})
    print(f"{name}: loss {loss.item():.17g}")


if __name__ == "__main__":
    for which in sys.argv[1:] or NETS:
        make(which)
