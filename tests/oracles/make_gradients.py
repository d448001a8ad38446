#!/usr/bin/env python3
"""Writes the gradient fixtures of tests/data: ONNX training graphs and their binary64 gradients.

    pip install -r models/requirements.txt
    python tests/oracles/make_gradients.py           write tests/data
    python tests/oracles/make_gradients.py --check   compute again and compare

The gradients come from JAX's automatic differentiation in binary64, at the exact binary32 weights,
inputs and constants of the graphs. Before a file is written, the loss is compared with the one that
onnxruntime (or ONNX's reference evaluator) computes from the graph, and the gradient with a
difference quotient of the loss along a random direction.
"""

import argparse
import sys
from pathlib import Path

import cases  # noqa: I001 (sets the path and JAX's format)
import cases_images  # noqa: F401 (registers its cases)
import cases_losses  # noqa: F401
import cases_tensors  # noqa: F401

import jax
import nets
import numpy as np
import onnx
from onnx import numpy_helper
from onnx_files import binary32_loss, write_npz, write_onnx

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data"
BUFFERS = ("running_mean", "running_var")


def exact(arrays):
    """Binary32 to binary64, integers as they are."""
    return {k: np.float64(v) if v.dtype == np.float32 else np.int64(v) for k, v in arrays.items()}


def gradients(loss, params, buffers):
    """The loss and its gradients by every parameter, checked by a central difference."""
    trained = {k: v for k, v in params.items() if k not in buffers}
    fixed = {k: params[k] for k in buffers}
    f = jax.jit(lambda p: loss(p | fixed))
    value, gradient = jax.value_and_grad(f)(trained)
    rng = np.random.default_rng(7)
    direction = {k: rng.standard_normal(v.shape) for k, v in trained.items()}
    h = 1e-6
    sides = [f({k: v + s * h * direction[k] for k, v in trained.items()}) for s in (1, -1)]
    difference = float(sides[0] - sides[1]) / (2 * h)
    derivative = sum(float((gradient[k] * direction[k]).sum()) for k in trained)
    size = max(1.0, abs(derivative), abs(float(value)))
    assert abs(difference - derivative) < 1e-6 * size, f"{derivative} is not {difference}"
    return float(value), {k: np.asarray(v) for k, v in gradient.items()}


def compare(loss, model, inputs):
    other, who = binary32_loss(model, inputs)
    assert abs(loss - other) <= 2e-6 * max(1.0, abs(loss)), f"loss {loss}, {other} by {who}"
    return who


def trained_models():
    """(name, description, files) of the three trained models; only their gradients are written."""
    for build in nets.ALL:
        net = build()
        model = onnx.load(ROOT / "models" / f"{net.name}.onnx")
        inputs = dict(np.load(ROOT / "models" / f"{net.name}.inputs.npz"))
        params = exact({t.name: numpy_helper.to_array(t) for t in model.graph.initializer})
        x, y = exact(inputs)["x"], inputs["y"]
        buffers = [k for k in params if k.endswith(BUFFERS)]
        value, gradient = gradients(lambda p: net.loss(p, x, y)[0], params, buffers)
        who = compare(value, model, inputs)
        yield net.name, value, who, build.__doc__, {f"{net.name}.grads_f64.npz": gradient}


def small_graphs():
    """(name, description, files) of the untrained cases."""
    for build in cases.CASES:
        name, case = build.__name__, build()
        inputs = exact(case.inputs)
        loss = lambda p: case.loss(p, inputs)  # noqa: B023, E731 (used before the next case)
        value, gradient = gradients(loss, exact(case.params), case.buffers)
        who = compare(value, case.model, case.inputs)
        files = {"model.onnx": case.model, "inputs.npz": case.inputs, "grads_f64.npz": gradient}
        files = {f"graphs/{name}/{k}": v for k, v in files.items()}
        yield name, value, who, build.__doc__, files


def differs(path, content):
    """What is wrong with a file, or nothing. Gradients may differ in their last bits: sums in
    another order on another processor."""
    if not path.exists():
        return "missing"
    if not isinstance(content, dict):
        same = path.read_bytes() == content.SerializeToString(deterministic=True)
        return None if same else "other bytes"
    old = np.load(path)
    if list(old) != list(content):
        return "other names"
    largest = max((np.abs(np.float64(v)).max() for v in content.values()), default=0)
    for k, v in content.items():
        tolerance = 1e-12 * largest if v.dtype == np.float64 else 0
        if old[k].dtype != v.dtype or old[k].shape != v.shape:
            return f'another type or shape of "{k}"'
        if (np.abs(old[k] - v) > tolerance).any():
            return f'other values of "{k}"'
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the files instead")
    check = parser.parse_args().check
    bad, rows = 0, []
    for name, value, who, text, files in [*trained_models(), *small_graphs()]:
        print(f"{name}: loss {value:.17g}, also by {who}")
        rows.append(f"| `{name}` | {text.splitlines()[0].rstrip('.')} | {value:.17g} |\n")
        for file, content in files.items():
            path = DATA / file
            if check:
                problem = differs(path, content)
                if problem:
                    bad += 1
                    print(f"  {file}: {problem}")
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, dict):
                write_npz(path, content)
            else:
                write_onnx(path, content)
    if not check:
        table = "| name | what | loss |\n|---|---|---|\n" + "".join(rows)
        (DATA / "README.md").write_text(HEADER + table)
    return 1 if bad else 0


HEADER = """# Gradient fixtures

Made by `tests/oracles/make_gradients.py`, which also compares them (`--check`). Do not edit.

* `<model>.grads_f64.npz`: gradients of the trained models in `models/`.
* `graphs/<name>/`: `model.onnx` (untrained), `inputs.npz` (keys are graph inputs) and
  `grads_f64.npz`.

Gradients are keyed by initializer name and leave out the running statistics of batch
normalization. They are JAX's, in binary64, of the loss at the exact binary32 weights, inputs and
constants; attributes such as epsilon and alpha count as the binary32 values that the file holds.
Their own error is about 1e-15 of the terms they are summed from, so a gradient that is exactly 0
(a convolution bias before batch normalization, a key bias before softmax) may stand here as 1e-17.

"""


if __name__ == "__main__":
    sys.exit(main())
