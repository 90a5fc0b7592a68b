"""A command that torchrun has started in several processes."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from feature_sets.errors import UserError

# commands that several processes do together
SPLIT = ("language",)
# followers wait while the leader judges; that one has ended is seen by its connection
_PATIENCE = timedelta(days=30)


def started_by_torchrun() -> bool:
    """Whether this process is one of several of a run.

    Example:
        >>> started_by_torchrun()
        False
    """
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


def is_follower() -> bool:
    """Whether another process of this run reads, writes and prints."""
    return started_by_torchrun() and os.environ["RANK"] != "0"


def run_in_processes(run: Callable[[], None], load_model: Callable[[], Any], device: str) -> None:
    """Run in the first process, with the heavy calls split over all.

    Args:
        run: the command, as one process does it.
        load_model: gives another process its copy of the model.
        device: where to compute; "cuda" is each process's own GPU.

    Raises:
        ConnectionError: if another process has ended.
        UserError: if this process has no GPU of its own.
    """
    import torch
    import torch.distributed as dist

    from tl_entk.tools.lead import follow, lead
    from tl_entk.tools.ranks import split_over_ranks

    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.cuda.set_device(_own_gpu(torch.cuda.device_count()))
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=_PATIENCE)
    try:
        with split_over_ranks() as ranks:
            pass
        if ranks.first:
            with lead(ranks):
                run()
        else:
            follow(ranks, load_model)
    finally:
        dist.destroy_process_group()


def _own_gpu(count: int) -> int:
    """Which of this machine's GPUs is this process's.

    Raises:
        UserError: if there are more processes than GPUs.
    """
    number = int(os.environ.get("LOCAL_RANK", "0"))
    if number >= count:
        raise UserError(
            f"process {number + 1} of this machine has no GPU of its own ({count} there): start "
            f"one for each, torchrun --nproc-per-node {max(count, 1)}; or pass --device cpu."
        )
    return number
