"""Runs a function in several processes of torch.distributed, as torchrun would."""

import os
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_file, save_file
from torch import Tensor

from tl_entk.tools.ranks import split_over_ranks


def run_in_processes(
    function: Callable[[], dict[str, Tensor]], count: int, folder: Path
) -> list[dict[str, Tensor]]:
    """What the function gives in each of ``count`` processes; it must be one of a module."""
    mp.spawn(_run, (count, function, folder), nprocs=count)
    return [load_file(folder / f"{rank}.safetensors") for rank in range(count)]


def _run(rank: int, count: int, function: Callable[[], dict[str, Tensor]], folder: Path) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet{count}", rank=rank, world_size=count
    )
    with split_over_ranks() as ranks:
        assert (ranks.rank, ranks.count) == (rank, count)
        found = function()
    save_file({k: v.contiguous() for k, v in found.items()}, folder / f"{rank}.safetensors")
    dist.barrier()  # none leaves while another still talks to it
    dist.destroy_process_group()
