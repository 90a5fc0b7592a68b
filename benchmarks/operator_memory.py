"""Peak memory of one product at full size: N = 1024 windows of 64 tokens under a budget.

    python -m benchmarks.operator_memory [--layers 16 8 0] [--n 1024] [--budget 8]

Every layer runs in a process of its own, so that the peak is its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
import warnings

import torch

import tl_entk
from benchmarks.gemma import FULL, SMALL, bridge, hugging_face_gemma, random_tokens


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def child(arguments) -> None:
    warnings.simplefilter("ignore")
    sizes = SMALL if arguments.small else FULL
    plain = hugging_face_gemma(sizes)
    model = bridge(plain)
    del plain
    tokens = random_tokens(arguments.n, arguments.length, sizes)
    rest = peak()
    component = f"blocks.{arguments.child}.mlp.W_out"
    op = tl_entk.kernel_operator(
        model, tokens, component, memory_budget=int(arguments.budget * 2**30)
    )
    estimate = op.estimate()
    started = time.perf_counter()
    op.prepare()
    prepared = time.perf_counter() - started
    started = time.perf_counter()
    _ = op @ torch.randn(op.shape[0])
    product = time.perf_counter() - started
    plan = op.plan
    print(
        json.dumps(
            dict(
                component=component, chunk=plan.chunk, kept=min(op.n, plan.kept * plan.chunk),
                prepare=prepared, product=product, rest=rest, peak=peak(),
                estimated_product=estimate.product_seconds,
                estimated_prepare=estimate.setup_seconds,
                planned=plan.memory / 2**30,
            )
        )
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, nargs="*", default=[16, 8, 0])
    parser.add_argument("--n", type=int, default=1024)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--budget", type=float, default=8.0)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--child", type=int)
    arguments = parser.parse_args()
    if arguments.child is not None:
        child(arguments)
        return
    for layer in arguments.layers:
        command = [
            sys.executable, "-m", "benchmarks.operator_memory", "--child", str(layer),
            "--n", str(arguments.n), "--length", str(arguments.length),
            "--budget", str(arguments.budget), *(["--small"] if arguments.small else []),
        ]  # fmt: skip
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(result.stdout.splitlines()[-1])
        print(
            f"{found['component']}: N = {arguments.n} windows of {arguments.length}, budget "
            f"{arguments.budget} GiB: peak {found['peak']:.2f} GiB, {found['rest']:.2f} at rest "
            f"(planned {found['planned']:.2f}); {found['kept']} examples kept, chunks of "
            f"{found['chunk']}; prepared in {found['prepare']:.0f} s (estimated "
            f"{found['estimated_prepare']:.0f}), one product {found['product']:.1f} s (estimated "
            f"{found['estimated_product']:.1f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
