"""Products, blocks and compressed kernels of Gemma-3-270M's size on one device, for several N.

    python -m benchmarks.one_device [--device cuda] [--n 64,256,1024] [--length 64] [--small]

Random weights; the plain twin (VJP and JVP of the whole model) is timed in turn at the least N. A
line for each N: seconds of a product, floating-point operations of it, and the most memory.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from functools import partial

import torch
from torch.utils.flop_counter import FlopCounterMode

import tl_entk
from benchmarks.gemma import FULL, SMALL, Twin, bridge, hugging_face_gemma, random_tokens
from tl_entk.tools.timing import best_seconds, seconds


def peak(device: torch.device) -> float:
    """GiB taken at most since the last call (0 on a CPU)."""
    if device.type != "cuda":
        return 0.0
    most = torch.cuda.max_memory_allocated() / 2**30
    torch.cuda.reset_peak_memory_stats()
    return most


def operations(work: Callable[[], object]) -> float:
    """Floating-point operations of the matrix products in some work."""
    with FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops())


def products(model, twin_of, tokens, component: str, device: torch.device) -> None:
    op = tl_entk.kernel_operator(model, tokens, component)
    prepared = seconds(op.prepare, device)
    x = torch.randn(op.shape[0], generator=torch.Generator().manual_seed(2)).to(device)
    peak(device)
    taken = best_seconds(lambda: op @ x, device)
    line = (
        f"{component:22s} N = {len(tokens):5d}: prepared {prepared:6.2f} s, "
        f"product {taken:8.4f} s, "
        f"{operations(lambda: op @ x) / 1e12:7.3f} TFLOP, {peak(device):5.1f} GiB"
    )
    if twin_of is not None:
        twin = Twin(twin_of, tokens, component)
        theirs = best_seconds(lambda: twin @ x, device)
        mine, other = op @ x, twin @ x
        error = float((mine - other).norm() / other.norm())
        line += f"; twin {theirs:.4f} s ({theirs / taken:.1f} x), relative difference {error:.1e}"
    print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--n", default="64,256,1024")
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--small", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    device, sizes = torch.device(arguments.device), SMALL if arguments.small else FULL
    counts = [int(n) for n in arguments.n.split(",")]
    plain = hugging_face_gemma(sizes)
    model = bridge(plain).to(device)
    plain = plain.to(device)
    last = sizes["num_hidden_layers"] - 1
    for layer in (last - 1, last // 2, 0):
        for n in counts:
            tokens = random_tokens(n, arguments.length, sizes).to(device)
            twin_of = plain if n == counts[0] else None
            products(model, twin_of, tokens, f"blocks.{layer}.mlp.W_out", device)
    for n in counts:
        tokens = random_tokens(n, arguments.length, sizes).to(device)
        layers = {f"layer {i}": f"blocks.{i}.mlp.W_out" for i in range(last + 1)}
        peak(device)
        whole = seconds(partial(tl_entk.all_eigendirections, model, tokens, layers), device)
        print(
            f"all layers' 25 directions N = {n:5d}: {whole:.1f} s, {peak(device):.1f} GiB",
            flush=True,
        )
        some = seconds(
            partial(tl_entk.kernel_blocks, model, tokens, "logsumexp", "*.W_out"), device
        )
        print(
            f"{last + 1} blocks of logsumexp N = {n:5d}: {some:.1f} s, {peak(device):.1f} GiB",
            flush=True,
        )


if __name__ == "__main__":
    main()
