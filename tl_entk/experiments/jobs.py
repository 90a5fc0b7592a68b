"""Independent pieces of work, side by side in processes, each with a file that says it is done."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from feature_sets.errors import UserError
from tl_entk.tools.progress import Progress


@dataclass(frozen=True)
class Job:
    """A piece of work.

    Attributes:
        name: for the progress bar and for messages.
        run: a function of a module (processes find it by its name).
        arguments: its arguments.
        done: the file that it writes last; a job whose file is there is not run again.
        weight: about how long it takes, beside the others.
    """

    name: str
    run: Callable[..., None]
    arguments: tuple[Any, ...]
    done: Path
    weight: float = 1.0


def run_jobs(jobs: Sequence[Job], *, workers: int | None = None, progress: bool = False) -> None:
    """Run the jobs that are not done yet, the longest first, in processes of one thread each.

    Args:
        jobs: none needs another.
        workers: processes; default one per core, two at most. With one, jobs run in this process.
        progress: show a progress bar.

    Raises:
        UserError: if workers is not positive.
        Exception: what a job raised, with a note of the job's name; finished jobs stay done.
    """
    workers = min(2, os.cpu_count() or 1) if workers is None else workers
    if workers < 1:
        raise UserError(f"workers = {workers}: pass 1 or more.")
    left = sorted((job for job in jobs if not job.done.exists()), key=lambda job: -job.weight)
    total = max(1, round(sum(job.weight for job in left)))
    with Progress("experiments", total, progress and bool(left)) as bar:
        if workers == 1 or len(left) < 2:
            for job in left:
                _run(job)
                bar.advance(round(job.weight), job.name)
            return
        # a fresh interpreter: forked processes and torch's threads do not go together
        context = get_context("spawn")
        others = set(active_children())
        with ProcessPoolExecutor(workers, context, initializer=_one_thread) as pool:
            running: dict[Future[None], Job] = {pool.submit(_run, job): job for job in left}
            try:
                while running:
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        job = running.pop(future)
                        future.result()
                        bar.advance(round(job.weight), job.name)
            except BaseException:
                pool.shutdown(cancel_futures=True, wait=False)
                for process in set(active_children()) - others:
                    process.terminate()
                raise


def _one_thread() -> None:
    """Processes side by side share the cores: more threads would only wait for each other."""
    torch.set_num_threads(1)
    threadpool_limits(1)


def _run(job: Job) -> None:
    try:
        job.run(*job.arguments)
    except Exception as error:
        error.add_note(f"in {job.name}")
        raise
    if not job.done.exists():
        raise RuntimeError(f"{job.name} ended without writing {job.done}.")
