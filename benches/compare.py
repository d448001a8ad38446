"""Runs this crate and its peers alternately, and prints ratios with their spread.

    python3 benches/compare.py [--venv DIR] [--rounds N] [--only exact|runtime|growth|threads]

Makes a virtual environment, installs the peers from the package index that pip is set up for, and says
which could not be had. Needs `cargo build --release --examples --bin certify` before. Every figure is a
ratio of medians of alternating rounds in one run on one machine, with the least and the largest ratio of a
round; above 1 this crate is faster.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PEERS = ["numpy", "onnx", "python-flint", "torch", "jax"]
THREADS = "2"

FLINT = """
import random, sys, time
from flint import arb_mat, arb, ctx
n, bits = int(sys.argv[1]), int(sys.argv[2])
ctx.prec, ctx.threads = bits, 2
random.seed(1)
short = lambda: arb(random.getrandbits(24) - (1 << 23)) * arb(2) ** -23
third = arb(1) / 3
a = arb_mat([[short() for _ in range(n)] for _ in range(n)])
b = arb_mat([[third * short() for _ in range(n)] for _ in range(n)])
best = []
for _ in range(3):
    t = time.perf_counter(); c = a * b; best.append(time.perf_counter() - t)
print(sorted(best)[1] * 1e9 / n ** 3)
"""

TORCH = """
import sys, time
import numpy as np, onnx, torch, torch.nn.functional as F
from onnx import numpy_helper
torch.set_num_threads(2)
model, inputs, seconds = onnx.load(sys.argv[1]), np.load(sys.argv[2]), float(sys.argv[3])
weights = {w.name: torch.from_numpy(numpy_helper.to_array(w).copy()) for w in model.graph.initializer}
train = [w for k, w in weights.items() if w.is_floating_point() and 'running' not in k and w.dim() > 0]
for w in train: w.requires_grad_()
attr = lambda n: {a.name: onnx.helper.get_attribute_value(a) for a in n.attribute}
def step():
    v = dict(weights)
    for k in inputs.files: v[k] = torch.from_numpy(inputs[k])
    for n in model.graph.node:
        x, a = [v[i] for i in n.input], attr(n)
        k = n.op_type
        if k == 'Conv':
            y = F.conv2d(x[0], x[1], x[2] if len(x) > 2 else None, a['strides'], a['pads'][:2], groups=a['group'])
        elif k == 'BatchNormalization': y = F.batch_norm(x[0], x[3], x[4], x[1], x[2], False)
        elif k == 'Relu': y = F.relu(x[0])
        elif k == 'Clip': y = F.hardtanh(x[0], 0.0, 6.0)
        elif k == 'Add': y = x[0] + x[1]
        elif k == 'Mul': y = x[0] * x[1]
        elif k == 'MaxPool': y = F.max_pool2d(x[0], a['kernel_shape'], a['strides'], a['pads'][:2])
        elif k == 'GlobalAveragePool': y = x[0].mean((2, 3), keepdim=True)
        elif k == 'Flatten': y = x[0].flatten(1)
        elif k == 'Gemm': y = F.linear(x[0], x[1], x[2])
        elif k == 'MatMul': y = x[0] @ x[1]
        elif k == 'Softmax': y = torch.softmax(x[0], a['axis'])
        elif k == 'LayerNormalization': y = F.layer_norm(x[0], x[1].shape, x[1], x[2])
        elif k == 'Reshape': y = x[0].reshape([int(d) for d in x[1]])
        elif k == 'Transpose': y = x[0].permute(a['perm'])
        elif k == 'ReduceMean': y = x[0].mean(a['axes'][0])
        elif k == 'SoftmaxCrossEntropyLoss': y = F.cross_entropy(x[0], x[1])
        else: raise SystemExit(k)
        v[n.output[0]] = y
    return torch.autograd.grad(y, train)
step(); step()
times, start = [], time.perf_counter()
while len(times) < 5 or time.perf_counter() - start < seconds:
    t = time.perf_counter(); step(); times.append(time.perf_counter() - t)
print(sorted(times)[len(times) // 2] * 1e3)
"""

JAX = """
import os, sys, time
import numpy as np, onnx, jax, jax.numpy as jnp
from jax import lax
from onnx import numpy_helper
model, inputs, seconds = onnx.load(sys.argv[1]), np.load(sys.argv[2]), float(sys.argv[3])
weights = {w.name: numpy_helper.to_array(w) for w in model.graph.initializer}
train = {k: jnp.asarray(w) for k, w in weights.items() if w.dtype == np.float32 and 'running' not in k and w.ndim > 0}
fixed = {k: w for k, w in weights.items() if k not in train}
attr = lambda n: {a.name: onnx.helper.get_attribute_value(a) for a in n.attribute}
def loss(train, batch):
    v = {**fixed, **train, **batch}
    for n in model.graph.node:
        x, a = [v[i] for i in n.input], attr(n)
        k = n.op_type
        pads = lambda: [(a['pads'][0], a['pads'][2]), (a['pads'][1], a['pads'][3])]
        if k == 'Conv':
            y = lax.conv_general_dilated(x[0], x[1], a['strides'], pads(), feature_group_count=a['group'])
            if len(x) > 2: y = y + x[2][:, None, None]
        elif k == 'BatchNormalization':
            c = lambda t: t[:, None, None]
            y = (x[0] - c(x[3])) * c(x[1] / jnp.sqrt(x[4] + a.get('epsilon', 1e-5))) + c(x[2])
        elif k == 'Relu': y = jnp.maximum(x[0], 0)
        elif k == 'Clip': y = jnp.clip(x[0], 0, 6)
        elif k == 'Add': y = x[0] + x[1]
        elif k == 'Mul': y = x[0] * x[1]
        elif k == 'MaxPool':
            y = lax.reduce_window(x[0], -jnp.inf, lax.max, (1, 1, *a['kernel_shape']), (1, 1, *a['strides']), [(0, 0), (0, 0), *pads()])
        elif k == 'GlobalAveragePool': y = x[0].mean((2, 3), keepdims=True)
        elif k == 'Flatten': y = x[0].reshape(x[0].shape[0], -1)
        elif k == 'Gemm': y = x[0] @ x[1].T + x[2]
        elif k == 'MatMul': y = x[0] @ x[1]
        elif k == 'Softmax': y = jax.nn.softmax(x[0], a['axis'])
        elif k == 'LayerNormalization':
            m = x[0].mean(-1, keepdims=True)
            y = (x[0] - m) / jnp.sqrt(((x[0] - m) ** 2).mean(-1, keepdims=True) + a.get('epsilon', 1e-5)) * x[1] + x[2]
        elif k == 'Reshape': y = x[0].reshape([int(d) for d in x[1]])
        elif k == 'Transpose': y = x[0].transpose(a['perm'])
        elif k == 'ReduceMean': y = x[0].mean(a['axes'][0])
        elif k == 'SoftmaxCrossEntropyLoss':
            y = -jnp.take_along_axis(jax.nn.log_softmax(x[0], 1), x[1][:, None], 1).mean()
        else: raise SystemExit(k)
        v[n.output[0]] = y
    return y
batch = {k: jnp.asarray(inputs[k]) for k in inputs.files}
compiled = jax.jit(jax.grad(loss))
step = lambda: jax.block_until_ready(compiled(train, batch))
step(); step()
times, start = [], time.perf_counter()
while len(times) < 5 or time.perf_counter() - start < seconds:
    t = time.perf_counter(); step(); times.append(time.perf_counter() - t)
print(sorted(times)[len(times) // 2] * 1e3)
"""


def python(where, code, *args):
    env = dict(os.environ, OMP_NUM_THREADS=THREADS, MKL_NUM_THREADS=THREADS, JAX_PLATFORMS="cpu")
    out = subprocess.run([where, "-c", code, *map(str, args)], capture_output=True, text=True, env=env)
    if out.returncode:
        print("    " + (out.stderr.strip().splitlines() or ["failed"])[-1])
        return None
    return float(out.stdout.split()[-1])


def own(name, *args):
    env = dict(os.environ, RAYON_NUM_THREADS=THREADS)
    binary = ROOT / "target/release/examples" / name
    return subprocess.run([binary, *map(str, args)], capture_output=True, text=True, env=env, check=True).stdout


def ratios(rounds, peer, ours):
    """Medians of both, and the ratio of every round."""
    pairs = [(p, o) for p, o in ((peer(), ours()) for _ in range(rounds)) if p]
    if not pairs:
        return None
    each = [p / o for p, o in pairs]
    return (*(statistics.median(x) for x in zip(*pairs)), statistics.median(each), min(each), max(each))


def line(what, r, unit):
    if r is None:
        print(f"  {what:<34} not measured")
    else:
        print(f"  {what:<34} {r[0]:9.3f} {unit} / {r[1]:9.3f} {unit} = {r[2]:.2f} ({r[3]:.2f} to {r[4]:.2f})")
    sys.stdout.flush()


def exact(where, rounds):
    print("Exact products, FLINT's arb_mat_mul / ours, per multiply-add, short × full")
    for bits in (128, 256):
        for n in (512, 1024):
            ours = lambda: statistics.median(float(t) for t in re.findall(r"sliced +([\d.]+) ns", own("contractions", n, bits)))
            line(f"n = {n}, {bits} bits", ratios(rounds, lambda: python(where, FLINT, n, bits), ours), "ns")


def runtime(where, rounds, nets):
    print("Binary32 forward and backward, peer / ours")
    for net in ("mlp", "transformer", "resnet18"):
        for batch in (1, 32):
            out = nets / f"batch{batch}"
            model, inputs = out / f"{net}.onnx", out / f"{net}.inputs.npz"
            if not model.exists():
                subprocess.run([where, ROOT / "benches/models.py", out, "--net", net, "--batch", str(batch)], check=True)
            seconds = 1 if net != "resnet18" else 3
            # bounds of a batch of 32 images would fill the memory of a small machine
            alone, beside = ["run"] if (net, batch) == ("resnet18", 32) else [], []

            def ours():
                found = own("passes", model, inputs, seconds, *alone)
                beside.extend(float(runs) for runs in re.findall(r"([\d.]+) runs", found))
                return float(re.search(r"run ([\d.]+) ms", found)[1])

            for peer, code in (("PyTorch", TORCH), ("JAX", JAX)):
                found = ratios(rounds, lambda: python(where, code, model, inputs, seconds), ours)
                line(f"{net}, batch {batch}, {peer}", found, "ms")
            if beside:
                print(f"    error and scale passes: {statistics.median(beside):.2f} runs")


def certificate(args, threads):
    """Processor and wall seconds of a whole certificate."""
    before = os.times()
    command = [ROOT / "target/release/certify", *map(str, args), "--quiet", "--threads", str(threads)]
    found = subprocess.run(command, capture_output=True, text=True)
    after = os.times()
    if found.returncode > 1:
        raise SystemExit(found.stderr)
    user = after.children_user - before.children_user + after.children_system - before.children_system
    return user, after.elapsed - before.elapsed


def growth(where, nets):
    print("Growth of a whole certificate's processor time, `mlp` without chain rungs")
    for name, sizes in (("batch", [1, 2, 4, 8, 16, 32, 64, 128]), ("layers", [2, 4, 8, 12, 16, 20, 24, 32])):
        points = []
        for size in sizes:
            out = nets / f"{name}{size}"
            option = ["--batch", str(size)] if name == "batch" else ["--batch", "4", "--layers", str(size)]
            subprocess.run([where, ROOT / "benches/models.py", out, "--net", "mlp", *option], check=True)
            user, _ = certificate([out / "mlp.onnx", "--inputs", out / "mlp.inputs.npz", "--chain", "off"], 2)
            points.append((size, user))
        print(f"  {name}: " + ", ".join(f"{s}: {u:.2f} s" for s, u in points))


def exact_pass(args, threads):
    """Wall seconds of the exact pass."""
    command = [ROOT / "target/release/certify", *map(str, args), "--times", "--threads", str(threads)]
    found = subprocess.run(command, capture_output=True, text=True)
    return float(re.search(r"^exact pass +([\d.]+) s", found.stdout + found.stderr, re.M)[1])


def threads(where, rounds, nets):
    model = ROOT / "models/digits_cnn.onnx"
    args = [model, "--inputs", model.with_suffix("").with_suffix(".inputs.npz")]
    print("One thread / two")
    r = ratios(rounds, lambda: certificate(args, 1)[1], lambda: certificate(args, 2)[1])
    line("digits_cnn, batch 32, certificate", r, "s")
    out = nets / "batch1"
    subprocess.run([where, ROOT / "benches/models.py", out, "--net", "transformer", "--batch", "1"], check=True)
    args = [out / "transformer.onnx", "--inputs", out / "transformer.inputs.npz", "--chain", "off"]
    r = ratios(rounds, lambda: exact_pass(args, 1), lambda: exact_pass(args, 2))
    line("transformer, batch 1, exact pass", r, "s")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", type=Path, default=ROOT / "target/peers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["exact", "runtime", "growth", "threads"])
    args = parser.parse_args()
    where = args.venv / "bin/python"
    if not where.exists():
        venv.create(args.venv, with_pip=True)
    for peer in PEERS:
        done = subprocess.run([where, "-m", "pip", "install", "-q", peer], capture_output=True, text=True)
        version = subprocess.run([where, "-m", "pip", "show", peer], capture_output=True, text=True).stdout
        found = re.search(r"^Version: (.*)$", version, re.M)
        print(f"{peer}: {found[1] if found else 'could not be installed: ' + (done.stderr.strip().splitlines() or ['?'])[-1]}")
    nets = args.venv / "nets"
    parts = {
        "exact": lambda: exact(where, args.rounds),
        "runtime": lambda: runtime(where, args.rounds, nets),
        "growth": lambda: growth(where, nets),
        "threads": lambda: threads(where, args.rounds, nets),
    }
    for name, part in parts.items():
        if args.only in (None, name):
            part()


if __name__ == "__main__":
    main()
