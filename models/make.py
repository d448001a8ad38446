#!/usr/bin/env python3
"""Trains the small models of this folder and writes them as ONNX training graphs.

pip install -r requirements.txt
python make.py              write the .onnx and .inputs.npz files and SHA256SUMS
python make.py --check      compare the files with SHA256SUMS (standard library only)
python make.py --reproduce  train again and compare the bytes
"""

import argparse
import hashlib
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
SUMS = HERE / "SHA256SUMS"

BATCH = 64
MOMENTUM = 0.9
DECAY = 1e-4
# After each step but the last ones the parameters are rounded to multiples of this. Training runs
# in binary64, so another machine's rounding errors (1e-16) vanish here instead of growing: they
# change a multiple with odds of about 1e-10 per parameter and step.
GRID = 2.0**-18
FREE_STEPS = 3


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check():
    """0 if SHA256SUMS lists every file, each is unchanged, and README.md gives the same sums."""
    bad, listed = 0, set()
    readme = (HERE / "README.md").read_text()
    for line in SUMS.read_text().splitlines():
        expected, name = line.split("  ", 1)
        listed.add(name)
        path = HERE / name
        state = "missing" if not path.exists() else "OK" if sha256(path) == expected else "CHANGED"
        if state == "OK" and f"{expected}  {name}" not in readme:
            state = "another sum in README.md"
        bad += state != "OK"
        print(f"{name}: {state}")
    for path in sorted([*HERE.glob("*.onnx"), *HERE.glob("*.npz")]):
        if path.name not in listed:
            bad += 1
            print(f"{path.name}: not in {SUMS.name}")
    return 1 if bad else 0


def digits():
    """Shuffled 8x8 images in 0..1 (multiples of 1/16, exact in binary32) and labels: 1437 + 360."""
    import numpy as np
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    images = (data.images[order] / 16).reshape(-1, 1, 8, 8)
    labels = data.target[order].astype(np.int64)
    return (images[:1437], labels[:1437]), (images[1437:], labels[1437:])


def train(net, images, labels):
    """Momentum SGD in binary64; returns binary32 parameters and running statistics."""
    import jax
    import numpy as np
    from jax import numpy as jnp

    @jax.jit
    def step(p, velocity, x, y, grid):
        gradient, (_, statistics) = jax.grad(net.loss, has_aux=True)(p, x, y)
        velocity = {k: MOMENTUM * velocity[k] + gradient[k] + DECAY * p[k] for k in p}
        p = {k: p[k] - net.rate * velocity[k] for k in p}
        p = {k: jnp.where(grid > 0, jnp.round(v / GRID) * GRID, v) for k, v in p.items()}
        return p, velocity, statistics

    p = {k: jnp.asarray(v) for k, v in net.parameters.items()}
    velocity = {k: jnp.zeros_like(v) for k, v in p.items()}
    running = dict(net.buffers)
    rng = np.random.default_rng(net.seed)
    per_epoch = len(labels) // BATCH
    steps = net.epochs * per_epoch
    for i in range(steps):
        if i % per_epoch == 0:
            order = rng.permutation(len(labels))
        rows = order[i % per_epoch * BATCH :][:BATCH]
        grid = 1 if i < steps - FREE_STEPS else 0
        p, velocity, statistics = step(p, velocity, images[rows], labels[rows], grid)
        # BatchNormalization: running = 0.9 · running + 0.1 · batch
        running = {k: 0.9 * v + 0.1 * np.asarray(statistics[k]) for k, v in running.items()}
    return {k: np.float32(v) for k, v in p.items()}, {k: np.float32(v) for k, v in running.items()}


def accuracy(net, params, images, labels):
    """Share of right answers, in train mode over the whole set (the graph has no other mode)."""
    import jax

    _, (logits, _) = jax.jit(net.loss)(params, images, labels)
    return float((logits.argmax(1) == labels).mean())


def in_state_dict_order(net, params, running):
    """Torch's order: a BatchNormalization's running statistics follow its weight and bias."""
    tensors = {}
    for name, value in params.items():
        tensors[name] = value
        module, _, kind = name.rpartition(".")
        if kind == "bias" and f"{module}.running_mean" in running:
            for part in ("running_mean", "running_var"):
                tensors[f"{module}.{part}"] = running[f"{module}.{part}"]
    assert len(tensors) == len(params) + len(running)
    return tensors


def make(folder):
    """Writes all files into the folder, prints what README.md's table says."""
    from onnx_files import binary32_loss, write_npz, write_onnx
    import nets
    import numpy as np

    (images, labels), (test_images, test_labels) = digits()
    for build in nets.ALL:
        net = build()
        params, running = train(net, images, labels)
        model = net.graph(in_state_dict_order(net, params, running))
        inputs = {"x": np.float32(images[: net.batch]), "y": labels[: net.batch]}
        exact = {k: np.float64(v) for k, v in params.items()}
        loss = float(net.loss(exact, np.float64(inputs["x"]), inputs["y"])[0])
        other, who = binary32_loss(model, inputs)
        assert abs(loss - other) <= 1e-5 * abs(loss), f"{net.name}: {loss} here, {other} by {who}"
        shares = [
            accuracy(net, exact, images, labels),
            accuracy(net, exact, test_images, test_labels),
        ]
        assert shares[0] > 0.95, f"{net.name}: train accuracy {shares[0]:.4f}, 0.95 required"
        write_onnx(folder / f"{net.name}.onnx", model)
        write_npz(folder / f"{net.name}.inputs.npz", inputs)
        size = sum(v.size for v in params.values())
        print(
            f"{net.name}: {size} parameters, train accuracy {shares[0]:.4f}, test {shares[1]:.4f},"
            f" batch {net.batch}, loss {loss:.17g} (binary32 by {who}: {other:.9g})"
        )


def files(folder):
    return sorted([*folder.glob("*.onnx"), *folder.glob("*.npz")])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare the files with SHA256SUMS")
    parser.add_argument("--reproduce", action="store_true", help="train again, compare the bytes")
    options = parser.parse_args()
    if options.check:
        return check()
    if options.reproduce:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder))
            same = [sha256(p) == sha256(HERE / p.name) for p in files(Path(folder))]
        print("the same bytes" if all(same) else "DIFFERENT bytes")
        return 0 if all(same) else 1
    make(HERE)
    SUMS.write_text("".join(f"{sha256(path)}  {path.name}\n" for path in files(HERE)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
