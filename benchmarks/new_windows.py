"""Scores of new windows beside plain forward and backward passes over the same windows.

Run: ``python -m benchmarks.new_windows [--n 1000] [--length 32] [--threads 2]``. In one process, by
turns: a forward and backward pass of logsumexp for all weights, by autograd alone; and ``project``
of directions that were found on other windows, of one layer's W_out (all logits, and logsumexp) and
of the default kernel, k = 1 and k = 25.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from statistics import median
from time import perf_counter

import torch

import tl_entk

WEIGHT = "blocks.3.mlp.W_out"


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="stories")
    parser.add_argument("--weight", default=WEIGHT)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--length", type=int, default=32)
    parser.add_argument("--old", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    loaded = tl_entk.load_language_model(given.model)
    model = loaded.model
    generator = torch.Generator().manual_seed(0)
    shape = (given.n + given.old, given.length)
    words = torch.randint(10, min(loaded.tokenizer.vocab_size, 3000), shape, generator=generator)
    new, old = words[: given.n], words[given.n :]
    calls = {"forward and backward pass": lambda: pass_both_ways(model, new)}
    for name, u in directions(model, old, given.weight).items():
        calls[f"project, {name}"] = lambda u=u: u.project(model, new)  # type: ignore[misc]
    show(measure(calls, given.rounds))


def directions(
    model: torch.nn.Module, old: torch.Tensor, weight: str
) -> dict[str, tl_entk.WeightDirections]:
    """Directions of the weights, by what they are of."""
    blocks = tl_entk.kernel_blocks(model, old, "logsumexp", weight)
    kinds = {
        "logsumexp": tl_entk.eigendecompose(blocks, 25),
        "default": tl_entk.default_directions(model, old, 25),
        "all logits": tl_entk.all_eigendirections(model, old, [weight], 25)[weight],
    }
    return {
        f"{name}, k = {k}": eigen.take(range(k)).weight_directions()
        for name, eigen in kinds.items()
        for k in (1, 25)
    }


def pass_both_ways(model: torch.nn.Module, tokens: torch.Tensor, batch: int = 64) -> None:
    """Autograd's gradients of all weights, as a training step has them."""
    model.requires_grad_(True)
    for rows in tokens.split(batch):
        model(rows)[:, -1].logsumexp(-1).sum().backward()
    model.zero_grad(set_to_none=True)


def measure(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each, by turns; the first round is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            begun = perf_counter()
            call()
            taken[name].append(perf_counter() - begun)
    return {name: median(seconds[1:]) for name, seconds in taken.items()}


def show(found: dict[str, float]) -> None:
    """Seconds, and over those of the forward and backward pass."""
    first = next(iter(found.values()))
    for name, seconds in found.items():
        print(f"{name:36} {seconds:8.2f} s {seconds / first:6.2f}")


if __name__ == "__main__":
    main()
