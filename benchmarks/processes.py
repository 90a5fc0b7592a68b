"""Products and blocks in one process and in several, on one machine, with one thread each.

    python -m benchmarks.processes [--counts 1,2] [--n 128] [--full]

By default the embedded story model; ``--full`` takes random weights of Gemma-3-270M's size.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

import tl_entk
from benchmarks.gemma import FULL, bridge, hugging_face_gemma, random_tokens
from tl_entk.language.loading import load_language_model
from tl_entk.language.story_model import EMBEDDED


def seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """The best of some calls, which all processes begin together."""
    work()
    found = []
    for _ in range(repeats):
        if dist.is_initialized():
            dist.barrier()
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return min(found)


def measure(rank: int, count: int, n: int, full: bool, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet{count}", rank=rank, world_size=count
    )
    if full:
        model, tokens, layer = bridge(hugging_face_gemma(FULL)), random_tokens(n, 64, FULL), 16
    else:
        model = load_language_model(EMBEDDED).model
        generator = torch.Generator().manual_seed(0)
        tokens, layer = torch.randint(5, 1000, (n, 32), generator=generator), 3
    component = f"blocks.{layer}.mlp.W_out"
    with tl_entk.split_over_ranks():
        op = tl_entk.kernel_operator(model, tokens, component)
        x = torch.randn(op.shape[0], generator=torch.Generator().manual_seed(0))
        op.prepare()
        product = seconds(lambda: op @ x)
        blocks = seconds(lambda: tl_entk.kernel_blocks(model, tokens, components=component), 1)
    gradient = torch.zeros(2048 * 640 if full else 512 * 128)
    reduction = seconds(lambda: dist.all_reduce(gradient), 10)
    if rank == 0:
        megabytes = gradient.numel() * 4 / 1e6
        print(
            f"{count} process(es): product {product:.3f} s, block {blocks:.2f} s, all-reduce of "
            f"{megabytes:.2f} MB {1000 * reduction:.2f} ms",
            flush=True,
        )
    dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", default="1,2")
    parser.add_argument("--n", type=int, default=128)
    parser.add_argument("--full", action="store_true")
    arguments = parser.parse_args()
    for count in map(int, arguments.counts.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            mp.spawn(measure, (count, arguments.n, arguments.full, folder), nprocs=count)


if __name__ == "__main__":
    main()
