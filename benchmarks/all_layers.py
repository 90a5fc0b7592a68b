"""Kernels of all logits of every layer: compressed together, and one by one.

    python -m benchmarks.all_layers [--model stories] [--text FILE] [--whole 2,3] [--out FOLDER]

Compressed kernels are made and solved in one call. Then, in the same run, each layer's own estimate
of the solver that multiplies with the whole kernel; the layers of --whole are solved by it, from a
random vector and from the compressed kernel's vectors: that tells how good the estimates are, and
how far the compressed eigenvalues are off. Without --text, windows are of stories that the embedded
model writes.
"""

from __future__ import annotations

import argparse
import csv
import resource
import time
from pathlib import Path

import torch

import tl_entk
from tl_entk.language.story_model import EMBEDDED
from tl_entk.model.adapters import adapt_transformer
from tl_entk.tools.timing import duration

COLUMNS = (
    "layer", "estimated seconds", "seconds", "products", "seconds polished", "products polished",
    "mean error", "worst error", "worst residual said", "worst residual", "left out",
)  # fmt: skip


def windows(model: tl_entk.LanguageModel, text: Path | None, n: int, length: int) -> torch.Tensor:
    """(n, length) tokens, each window from the beginning of a story."""
    if text is None:
        stories = tl_entk.sample_stories(n, seed=0)
    else:
        stories = text.read_text(encoding="utf-8").split("<|endoftext|>")
    rows = [model.tokenizer(story.strip())["input_ids"][:length] for story in stories]
    rows = [row for row in rows if len(row) == length][:n]
    if len(rows) < n:
        raise SystemExit(f"{len(rows)} stories have {length} tokens, {n} are wanted: more text.")
    return torch.tensor(rows)


def solve_whole(model, tokens, name, found, arguments) -> dict[str, float | int]:
    """One layer by products with the whole kernel, from nothing and from what was found."""
    row: dict[str, float | int] = {}
    for start, ending in ((None, ""), (found, " polished")):
        started = time.perf_counter()
        eigen = tl_entk.top_eigendirections(
            model, tokens, name, arguments.k, start=start, memory_budget=arguments.budget
        )
        row[f"seconds{ending}"] = round(time.perf_counter() - started, 1)
        row[f"products{ending}"] = eigen.provenance["products"]
    errors = 1 - found.eigenvalues / eigen.eigenvalues
    row |= {"mean error": float(errors.mean()), "worst error": float(errors.max())}
    operator = tl_entk.kernel_operator(model, tokens, name, memory_budget=arguments.budget)
    flat = found.vectors.flatten(0, 1)
    off = (operator @ flat).double() - flat.double() * found.eigenvalues
    return row | {"worst residual": float(off.norm(dim=0).max() / found.eigenvalues[0])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=EMBEDDED)
    parser.add_argument("--text", type=Path)
    parser.add_argument("--n", type=int, default=128)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--k", type=int, default=25)
    parser.add_argument("--outputs", type=int, default=32)
    parser.add_argument("--whole", default="", help="layers, by commas")
    parser.add_argument("--budget", type=float, default=4.0, help="GiB")
    parser.add_argument("--out", type=Path, default=Path("runs"))
    arguments = parser.parse_args()
    arguments.budget = int(arguments.budget * 2**30)
    language = tl_entk.load_language_model(arguments.model)
    model = language.model
    tokens = windows(language, arguments.text, arguments.n, arguments.length)
    layers = range(adapt_transformer(model).n_layers)
    names = {layer: f"blocks.{layer}.mlp.W_out" for layer in layers}
    started = time.perf_counter()
    found = tl_entk.all_eigendirections(
        model, tokens, list(names.values()), arguments.k, outputs=arguments.outputs,
        memory_budget=arguments.budget,
    )  # fmt: skip
    together = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"all {len(names)} layers together: {duration(together)}; {peak:.1f} GiB of the process")
    whole = [int(layer) for layer in arguments.whole.split(",") if layer]
    rows, total, most = [], 0.0, 0
    for layer, name in names.items():
        operator = tl_entk.kernel_operator(model, tokens, name, memory_budget=arguments.budget)
        estimate = operator.estimate(arguments.k)
        del operator
        total, most = total + estimate.seconds, max(most, estimate.memory_bytes)
        eigen = found[name]
        row = {
            "layer": layer,
            "estimated seconds": round(estimate.seconds, 1),
            "worst residual said": float(eigen.residuals.max()),
            "left out": eigen.provenance["energy_left_out"],
        }
        if layer in whole:
            row |= solve_whole(model, tokens, name, eigen, arguments)
        rows.append(row)
        print({key: f"{value:.3g}" for key, value in row.items()}, flush=True)
    print(
        f"one by one, by their estimates: {duration(total)}, up to {most / 2**30:.1f} GiB beside "
        f"the model; together {total / together:.1f} times as fast"
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    with (arguments.out / "all_layers.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
