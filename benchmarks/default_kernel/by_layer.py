"""Figure of kernels and baselines layer by layer, one panel a setting.

python -m benchmarks.default_kernel.by_layer runs/default-kernel/Gemma.json ... --out figure.png
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from benchmarks.default_kernel.choose import SHIPPED
from benchmarks.default_kernel.kernels import ALL, EVERY

# readout, weight to line
KERNELS = {
    ("target_logit", "W_out"): ("eNTK, target logit, W_out, cosine", "#d55e00", "-"),
    ("logsumexp", "W_out"): ("eNTK, logsumexp, W_out, cosine", "#e69f00", "-"),
    ("target_logit", "W_O"): ("eNTK, target logit, W_O, cosine", "#cc79a7", "-"),
}
BASELINES = {
    "standardized PCA": ("#0072b2", "--"),
    "normed PCA": ("#56b4e9", "--"),
    "PCA": ("#555555", "--"),
}
# in the table alone
OTHERS = ("neurons", "attention output", "residual, cosine", "neurons, cosine")
PREDICTION = {"predicted unembedding": "#009e73", "expected unembedding": "#8fbf6f"}


def draw(axis, path: Path) -> list[list[str]]:
    found = json.loads(path.read_text())
    figures = {tuple(json.loads(key)): value for key, value in found["figures"].items()}
    layers = sorted({int(key[-1]) for key in figures if key[-1].isdigit()})
    rows = []
    for (readout, weight), (label, color, style) in KERNELS.items():
        keys = [(readout, weight, EVERY, "cosine", False, str(layer)) for layer in layers]
        values = [figures[key] for key in keys]
        axis.plot(layers, values, style, color=color, label=label)
        rows.append([path.stem, label, *values])
    for name, (color, style) in BASELINES.items():
        values = [figures[name, str(layer)] for layer in layers]
        axis.plot(layers, values, style, color=color, label=name)
        rows.append([path.stem, name, *values])
    for name, color in PREDICTION.items():
        axis.axhline(figures[name, ALL], ls=":", color=color, label=name)
    axis.axhline(figures[SHIPPED], ls="-.", color="black", label="default (logsumexp), later half")
    for name in OTHERS:
        rows.append([path.stem, name, *(figures[name, str(layer)] for layer in layers)])
    axis.set(title=path.stem, xlabel="layer", xticks=layers[:: max(1, len(layers) // 9)])
    return [[*row[:2], *(f"{value:.3f}" for value in row[2:])] for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    table: list[list[str]] = []
    rows = -(-len(arguments.files) // 2)
    shape = dict(figsize=(10, 3.4 * rows + 1), sharey=True, squeeze=False)
    figure, axes = plt.subplots(rows, 2, **shape)
    for axis in axes.flat[len(arguments.files) :]:
        axis.axis("off")
    for axis, path in zip(axes.flat, arguments.files, strict=False):
        table += draw(axis, path)
    for axis in axes[:, 0]:
        axis.set_ylabel("macro average precision")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=3, frameon=False, fontsize=8)
    figure.tight_layout(rect=(0, 0.09, 1, 1))
    figure.savefig(arguments.out, dpi=130)
    with arguments.out.with_suffix(".csv").open("w", newline="") as file:
        csv.writer(file).writerows([["setting", "method", "layer 0 and on"], *table])


if __name__ == "__main__":
    main()
