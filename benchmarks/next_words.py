"""The model's own next words: keys and values kept, against whole passes for every token.

    python -m benchmarks.next_words [--model stories] [--n 64] [--length 64] [--repeats 3]

In pairs of one run, on windows of random words; both must give the same tokens.
"""

from __future__ import annotations

import argparse
import statistics
import time
from unittest import mock

import torch

import tl_entk
from tl_entk.language import next_words
from tl_entk.model.adapters import adapt_transformer


def measure(model, tokens) -> tuple[float, torch.Tensor]:
    started = time.perf_counter()
    found = tl_entk.greedy_continuation(model, tokens, 3)
    return time.perf_counter() - started, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="stories")
    parser.add_argument("--n", type=int, default=64)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    model = tl_entk.load_language_model(arguments.model).model
    generator = torch.Generator().manual_seed(0)
    size = (arguments.n, arguments.length)
    tokens = torch.randint(10, adapt_transformer(model).vocabulary, size, generator=generator)
    measure(model, tokens[:2])  # sets up libraries, and tries the cache
    ratios = []
    for _ in range(arguments.repeats):
        kept, ours = measure(model, tokens)
        with mock.patch.object(next_words, "_cache_is_right", return_value=False):
            whole, theirs = measure(model, tokens)
        same = float((ours == theirs).float().mean())
        ratios.append(whole / kept)
        print(
            f"{arguments.n} windows of {arguments.length}, 3 tokens: {kept:.2f} s, whole passes "
            f"{whole:.2f} s: {ratios[-1]:.2f}x; {same:.1%} of tokens the same",
            flush=True,
        )
    print(f"median {statistics.median(ratios):.2f}x")


if __name__ == "__main__":
    main()
