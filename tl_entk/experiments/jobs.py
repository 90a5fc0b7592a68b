"""Independent pieces of work, side by side in processes, each with a file that says it is done."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed, parallel_config

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
        shows: ``run`` takes ``progress`` too, to show bars of its own where it is run in this
            process.
    """

    name: str
    run: Callable[..., None]
    arguments: tuple[Any, ...]
    done: Path
    weight: float = 1.0
    shows: bool = False


def run_jobs(jobs: Sequence[Job], *, workers: int | None = None, progress: bool = False) -> None:
    """Run the jobs that are not done yet, the longest first, in processes of one thread each.

    An interruption ends the processes; what they have not finished is run by the next call.

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
    with (
        Progress("experiments", total, progress and bool(left)) as bar,
        # closed before its end, by a failure or an interruption, the generator ends its processes
        closing(_run_each(left, min(workers, len(left)), progress)) as finished,
    ):
        for job in finished:
            bar.advance(round(job.weight), job.name)


def _run_each(jobs: Sequence[Job], workers: int, progress: bool) -> Generator[Job, None, None]:
    """The jobs as they end: in their order in this process, in any with several workers."""
    if workers < 2:
        return (_run(job, progress) for job in jobs)
    # processes side by side share the cores: more threads would only wait for each other
    with parallel_config(backend="loky", inner_max_num_threads=1):
        parallel = Parallel(n_jobs=workers, return_as="generator_unordered", batch_size=1)
    return parallel(delayed(_run)(job) for job in jobs)


def _run(job: Job, progress: bool = False) -> Job:
    options = {"progress": progress} if job.shows else {}
    try:
        job.run(*job.arguments, **options)
    except Exception as error:
        error.add_note(f"in {job.name}")
        raise
    if not job.done.exists():
        raise RuntimeError(f"{job.name} ended without writing {job.done}.")
    return job
