"""Everything of the paper that is no language model, as jobs, and what they found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tl_entk.dynamics.course import Course
from tl_entk.experiments.jobs import Job, run_jobs
from tl_entk.experiments.modular_mlp.analysis import MLPResult
from tl_entk.experiments.modular_mlp.settings import MLPSettings
from tl_entk.experiments.modular_transformer.analysis import (
    ModularResult,
    headline,
    run_modular_transformer,
)
from tl_entk.experiments.modular_transformer.linear_fits import transformer_fits
from tl_entk.experiments.modular_transformer.settings import ModularSettings, run_name
from tl_entk.experiments.records import recall, store
from tl_entk.experiments.superposition.analysis import SuperpositionResult
from tl_entk.experiments.superposition.settings import BETAS, SuperpositionSettings, paper_regimes
from tl_entk.experiments.toy_jobs import (
    FORMAT,
    mlp_job,
    mlp_result,
    superposition_job,
    superposition_result,
)
from tl_entk.model.classes import ModelClass

SEEDS = (0, 1, 2, 3, 4)
# the transformer's demo seed, which groks
SHOWN = ModularSettings().seed
FEW_BETAS = (0.0, 0.3)


@dataclass(frozen=True, eq=False)
class TransformerRecord:
    """What is kept of one seed of the Transformer.

    Attributes:
        found: its headline figures.
        fits: rows of the linearization; empty for the seeds that are not shown.
    """

    found: dict[str, Any]
    fits: list[dict[str, Any]]


@dataclass(frozen=True, eq=False)
class PaperResult:
    """Everything, by seed.

    Attributes:
        superposition: seed to the three regimes.
        mlp: seed to result and course.
        author: seed to the toy model of the author's linearization check.
        narrow: the narrow MLP.
        transformer: seed to record and course.
        shown: the Transformer of the demo's seed, whole.
    """

    superposition: dict[int, list[SuperpositionResult]]
    mlp: dict[int, tuple[MLPResult, Course]]
    author: dict[int, SuperpositionResult]
    narrow: tuple[MLPResult, Course]
    transformer: dict[int, tuple[TransformerRecord, Course]]
    shown: ModularResult


def run_paper(
    folder: Path,
    model_class: ModelClass,
    *,
    workers: int | None = None,
    progress: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> PaperResult:
    """Run what is not done yet, and gather it all.

    Args:
        folder: for models and results; a second call goes on, or reuses it all.
        model_class: of the Transformer.
        workers: processes side by side.
        progress: show progress bars.
        say: called with a line on what happens.

    Raises:
        OSError: if the folder cannot be written to.
    """
    toys = {
        seed: [
            superposition_job(regime, BETAS if seed == 0 else FEW_BETAS, folder, fits=seed == 0)
            for regime in paper_regimes(seed)
        ]
        for seed in SEEDS
    }
    author = {
        seed: superposition_job(author_settings(seed), (0.0,), folder, fits=True) for seed in SEEDS
    }
    mlps = {
        seed: mlp_job(MLPSettings(seed=seed), folder, collapses=seed == 0, fits=seed == 0)
        for seed in SEEDS
    }
    narrow = mlp_job(MLPSettings(n=64), folder, collapses=False, fits=False)
    transformers = {seed: _transformer_job(seed, model_class, folder) for seed in SEEDS}
    jobs = [job for regimes in toys.values() for job in regimes]
    jobs += [*author.values(), *mlps.values(), narrow, *transformers.values()]
    left = sum(not job.done.exists() for job in jobs)
    say(f"{len(jobs)} trainings with their analyses, {left} of them still to do")
    run_jobs(jobs, workers=workers, progress=progress)
    shown = run_modular_transformer(
        ModularSettings(seed=SHOWN), folder, model_class=model_class, progress=progress
    )
    return PaperResult(
        {seed: [superposition_result(job) for job in regimes] for seed, regimes in toys.items()},
        {seed: mlp_result(job) for seed, job in mlps.items()},
        {seed: superposition_result(job) for seed, job in author.items()},
        mlp_result(narrow),
        {
            seed: (recall(TransformerRecord, job.done), Course.load(_course_file(job)))
            for seed, job in transformers.items()
        },
        shown,
    )


def author_settings(seed: int) -> SuperpositionSettings:
    """The setting in which the paper's author checked the linearization."""
    return SuperpositionSettings(m=5, sparsity=0.9, seed=seed, features=10, examples=100)


def _transformer_job(seed: int, model_class: ModelClass, folder: Path) -> Job:
    settings = ModularSettings(seed=seed)
    home = folder / "models" / run_name(settings, model_class)
    arguments = (settings, model_class, folder, home / f"record-{FORMAT}.safetensors")
    name = f"Transformer, seed {seed}"
    return Job(name, _run_transformer, arguments, arguments[-1], weight=100.0, shows=True)


def _course_file(job: Job) -> Path:
    return job.done.parent / "course.safetensors"


def _run_transformer(
    settings: ModularSettings,
    model_class: ModelClass,
    folder: Path,
    file: Path,
    *,
    progress: bool = False,
) -> None:
    result = run_modular_transformer(settings, folder, model_class=model_class, progress=progress)
    fits = transformer_fits(settings, result.trained) if settings.seed == SHOWN else []
    store(TransformerRecord(headline(result), fits), file)
