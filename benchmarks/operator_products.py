"""One product of the matrix-free operator, against VJP + JVP of the whole model, in pairs.

    python benchmarks/operator_products.py [--n 32] [--length 64] [--repeats 3] [--small]

A full-size Gemma-3-270M with random weights; the twin is the plain Hugging Face model. Both
multiply the same random vector, in turn, and the products are compared.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings

import torch

import tl_entk
from benchmarks.gemma import FULL, SMALL, Twin, bridge, hooked, hugging_face_gemma, random_tokens


def seconds(work) -> tuple[float, torch.Tensor]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("components", nargs="*", help="e.g. blocks.16.mlp.W_out")
    parser.add_argument("--n", type=int, default=32)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--model-class", choices=("bridge", "hooked"), default="bridge")
    parser.add_argument("--precision", choices=("full", "bfloat16"), default="full")
    parser.add_argument("--budget", type=float, default=8.0, help="GiB")
    parser.add_argument("--small", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    sizes = SMALL if arguments.small else FULL
    last = sizes["num_hidden_layers"] - 1
    middle = last // 2
    components = arguments.components or [
        f"blocks.{layer}.mlp.W_out" for layer in (last - 1, last, middle, 0)
    ] + [f"blocks.{last - 1}.{w}" for w in ("attn.W_Q", "attn.W_K", "mlp.W_in")]  # fmt: skip
    plain = hugging_face_gemma(sizes)
    tokens = random_tokens(arguments.n, arguments.length, sizes)
    model = bridge(plain) if arguments.model_class == "bridge" else hooked(plain)
    print(
        f"{arguments.model_class}, N = {arguments.n} windows of {arguments.length} tokens, "
        f"{torch.get_num_threads()} threads, {arguments.repeats} pairs, medians; "
        f"precision {arguments.precision}"
    )
    for component in components:
        built, op = seconds(
            lambda c=component: tl_entk.kernel_operator(
                model, tokens, c, memory_budget=int(arguments.budget * 2**30),
                precision=arguments.precision,
            )
        )  # fmt: skip
        prepared, _ = seconds(op.prepare)
        twin = Twin(plain, tokens, component)
        x = torch.randn(op.shape[0], generator=torch.Generator().manual_seed(2))
        ours, theirs, error = [], [], 0.0
        op @ x  # first calls set up libraries; the twin's first is among the slower of its three
        for _ in range(arguments.repeats):
            a, mine = seconds(lambda op=op, x=x: op @ x)
            b, other = seconds(lambda twin=twin, x=x: twin @ x)
            ours.append(a)
            theirs.append(b)
            error = max(error, float((mine - other).norm() / other.norm()))
        ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
        print(
            f"{component:22s} ours {statistics.median(ours):8.4f} s, twin "
            f"{statistics.median(theirs):7.3f} s: {statistics.median(ratios):7.1f}x "
            f"(pairs {', '.join(f'{r:.1f}' for r in ratios)}); relative difference {error:.1e}; "
            f"once: {built:.1f} s to build, {prepared:.1f} s to prepare",
            flush=True,
        )
        del op, twin


if __name__ == "__main__":
    main()
