"""Predicted and measured changes along directions of the weights, by step, on old and new windows.

Run: ``python -m benchmarks.first_order [--model stories] [--text FILE] [--layer 3] [--n 128]``.
Directions of the kernel of all logits of W_out of a layer, and of the default kernel, are found on
half of the windows; correlation and relative error of the first order are of either half.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import tl_entk
from tl_entk.weight_space.response import STEPS


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="stories")
    parser.add_argument("--text", help="a text file; default stories of the embedded model")
    parser.add_argument("--layer", type=int, default=3)
    parser.add_argument("--n", type=int, default=128)
    parser.add_argument("--length", type=int, default=32)
    parser.add_argument("--k", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    loaded = tl_entk.load_language_model(given.model)
    tokens = read_windows(loaded.tokenizer, given.text, given.n, given.length)
    old, new = tokens.chunk(2)
    weight = f"blocks.{given.layer}.mlp.W_out"
    kinds = {
        f"{weight}, all logits": tl_entk.all_eigendirections(loaded.model, old, [weight], given.k)[
            weight
        ],
        "default kernel": tl_entk.default_directions(loaded.model, old, given.k),
    }
    for name, eigen in kinds.items():
        u = eigen.weight_directions()
        for where, windows in (("old", old), ("new", new)):
            found = [tl_entk.nudge_response(u, loaded.model, windows, i) for i in range(given.k)]
            print(f"{name}, {where} windows, {given.k} directions: least correlation, mean error")
            for i, step in enumerate(STEPS):
                least = min(float(one.correlation[i]) for one in found)
                error = sum(float(one.error[i]) for one in found) / given.k
                print(f"  step {step:<6g} {least:8.5f} {error:8.4f}")


def read_windows(tokenizer, path: str | None, n: int, length: int) -> torch.Tensor:
    """Windows from the start of stories."""
    if path is None:
        texts = tl_entk.sample_stories(n)
    else:
        stories = Path(path).read_text(encoding="utf-8").split("<|endoftext|>")
        texts = [story.strip() for story in stories]
    rows = [tokenizer(text)["input_ids"][:length] for text in texts[: 3 * n]]
    return torch.tensor([row for row in rows if len(row) == length][:n])


if __name__ == "__main__":
    main()
