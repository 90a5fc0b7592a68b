"""Cost of a product against N, T and the layer, and of the solver against k; with a figure.

    python -m benchmarks.operator_scaling [--out docs/operator_scaling.png] [--small]

Predicted for a kept product: exponent 1 in N and T (a little more where few tokens make inner
products of inputs the cheaper way, and where attention counts), linear in the number of layers
after the component; products about proportional to k.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch

import tl_entk
from benchmarks.gemma import FULL, SMALL, bridge, hugging_face_gemma, random_tokens

mpl.use("Agg")
import matplotlib.pyplot as plt


def product_seconds(model, tokens, component: str, repeats: int = 5) -> float:
    op = tl_entk.kernel_operator(model, tokens, component, memory_budget=10 * 2**30)
    op.prepare()
    assert op.plan.kept * op.plan.chunk >= op.n, "the graph is not kept: fewer examples"
    x = torch.randn(op.shape[0])
    _ = op @ x
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        _ = op @ x
        times.append(time.perf_counter() - started)
    return float(np.median(times))


def exponent(x, y) -> float:
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def draw(
    out: Path, late: str, last: int, slope: float, ns, by_n, lengths, by_length, layers, by_layer,
    ks, by_k,
) -> None:  # fmt: skip
    figure, axes = plt.subplots(1, 4, figsize=(13, 3.2), constrained_layout=True)
    panels = (
        ("windows N (T = 64)", "seconds per product", ns, by_n),
        ("tokens T (N = 16)", "seconds per product", lengths, by_length),
        ("layers after the component (N = 8)", "seconds per product",
         [last - layer for layer in layers], by_layer),
        ("pairs k (N = 8)", "products to residual 1e-3", ks, by_k),
    )  # fmt: skip
    for axis, (x_label, y_label, x, y) in zip(axes, panels, strict=True):
        axis.plot(x, y, "o-", color="#3b6ea8")
        axis.set(xlabel=x_label, ylabel=y_label)
        axis.grid(alpha=0.3)
        if "layers" in x_label:
            axis.set_title(f"{slope:.2g} s per layer")
            continue
        axis.set(xscale="log", yscale="log")
        axis.set_xticks(x, [str(value) for value in x])
        axis.set_yticks(y, [f"{value:.2g}" if value < 1 else str(value) for value in y])
        axis.minorticks_off()
        axis.set_title(f"exponent {exponent(x, y):.2f}")
    figure.suptitle(f"{late} of Gemma-3-270M's size, random weights")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/operator_scaling.png"))
    parser.add_argument("--small", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    sizes = SMALL if arguments.small else FULL
    last = sizes["num_hidden_layers"] - 1
    model = bridge(hugging_face_gemma(sizes))
    late = f"blocks.{last - 1}.mlp.W_out"
    ns, lengths = [8, 16, 32, 64], [16, 32, 64, 128, 256]
    layers = sorted({last, last - 1, last - 2, last - 4, last // 2, 0})
    ks = [5, 10, 25, 50]

    by_n = [product_seconds(model, random_tokens(n, 64, sizes), late) for n in ns]
    print(f"N {ns}: {by_n} s, exponent {exponent(ns, by_n):.2f}", flush=True)
    by_length = [product_seconds(model, random_tokens(16, t, sizes), late) for t in lengths]
    print(f"T {lengths}: {by_length} s, exponent {exponent(lengths, by_length):.2f}", flush=True)
    tokens = random_tokens(8, 64, sizes)
    by_layer = [
        product_seconds(model, tokens, f"blocks.{layer}.mlp.W_out", repeats=3) for layer in layers
    ]
    slope = np.polyfit([last - layer for layer in layers], by_layer, 1)[0]
    print(f"layer {layers}: {by_layer} s, {slope:.3f} s per further layer", flush=True)
    op = tl_entk.kernel_operator(model, tokens, late)
    by_k = [tl_entk.leading_eigenpairs(op, k).provenance["products"] for k in ks]
    print(f"k {ks}: {by_k} products, exponent {exponent(ks, by_k):.2f}", flush=True)

    draw(arguments.out, late, last, slope, ns, by_n, lengths, by_length, layers, by_layer, ks, by_k)


if __name__ == "__main__":
    main()
