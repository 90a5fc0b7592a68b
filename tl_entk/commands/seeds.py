"""What commands over several seeds share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tl_entk.commands.call import Call
from tl_entk.commands.checks import run_folder
from tl_entk.commands.console import show_end, shows_progress, working

if TYPE_CHECKING:
    from tl_entk.experiments.jobs import Job

Found = TypeVar("Found")


def run_seeds(
    call: Call[Any],
    target: Path,
    seeds: int,
    doing: str,
    *,
    jobs: Callable[[int], Sequence[Job]],
    gather: Callable[..., Found],
    write: Callable[[dict[int, Found], Path], Path],
    show: Callable[[dict[int, Found]], None],
    answer: Callable[[dict[int, Found]], str],
    workers: int | None,
) -> None:
    """Run what is not done yet of every seed, side by side; write the page, and say what was found.

    Args:
        call: the command's.
        target: the run's folder.
        seeds: how many, from the settings' on.
        doing: what happens, for the console.
        jobs: of a seed.
        gather: what a seed's jobs found, of those jobs.
        write: writes the page of all seeds into the folder.
        show: prints tables.
        answer: the answer in words.
        workers: processes side by side.
    """
    from tl_entk.experiments.jobs import run_jobs

    with run_folder(target, call, doing):
        first = call.settings.seed
        by_seed = {seed: jobs(seed) for seed in range(first, first + seeds)}
        every = [job for row in by_seed.values() for job in row]
        run_jobs(every, workers=workers, progress=shows_progress())
        found = {seed: gather(*row) for seed, row in by_seed.items()}
        with working("writing report.html"):
            page = write(found, target)
    show(found)
    show_end(answer(found), page)


def name_seeds(seeds: int) -> str:
    """What a folder's name says of several seeds.

    Example:
        >>> name_seeds(1), name_seeds(5)
        ('', '-and-4-more')
    """
    return "" if seeds == 1 else f"-and-{seeds - 1}-more"
