"""Runs a function in several processes of torch.distributed, as torchrun would."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from tl_entk.tools.ranks import split_over_ranks


def run_in_processes(function: Callable[..., dict[str, Any]], count: int, folder: Path) -> list:
    """What the function gives in each of ``count`` processes; it must be one of a module."""
    mp.spawn(_run, (count, function, folder), nprocs=count)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(count)]


def _run(rank: int, count: int, function: Callable[..., dict[str, Any]], folder: Path) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet{count}", rank=rank, world_size=count
    )
    with split_over_ranks() as ranks:
        assert (ranks.rank, ranks.count) == (rank, count)
        found = function()
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()
