"""The toy experiments as jobs: each writes what it found, so that an interrupted run goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from feature_sets.errors import UserError
from tl_entk.dynamics.course import Course
from tl_entk.experiments.induction.analysis import InductionResult, run_induction
from tl_entk.experiments.induction.settings import InductionSettings
from tl_entk.experiments.jobs import Job
from tl_entk.experiments.modular_mlp.analysis import MLPResult, run_modular_mlp
from tl_entk.experiments.modular_mlp.settings import MLPSettings
from tl_entk.experiments.records import recall, store
from tl_entk.experiments.settings import settings_name
from tl_entk.experiments.structured_superposition.analysis import StructureResult, run_structure
from tl_entk.experiments.structured_superposition.settings import StructureSettings
from tl_entk.experiments.superposition.analysis import SuperpositionResult, run_superposition
from tl_entk.experiments.superposition.settings import SuperpositionSettings
from tl_entk.model.memory import check_memory_budget

# raised where results of earlier code must not be taken up
FORMAT = 3
RESULT = f"result-{FORMAT}.safetensors"
COURSE = "course.safetensors"


def superposition_job(
    settings: SuperpositionSettings, betas: Sequence[float], folder: Path, *, fits: bool
) -> Job:
    """One regime and seed."""
    name = settings_name("superposition", settings, ("m", "sparsity", "seed"))
    grid = "-".join(f"{beta:g}" for beta in betas)
    home = folder / name / f"beta-{grid}{'-fits' if fits else ''}"
    weight = 4 + len(betas) * (1 + settings.m / 10) + 10 * fits
    arguments = (settings, tuple(betas), fits, home)
    return Job(name, _run_superposition, arguments, home / RESULT, weight, shows=True)


def _run_superposition(
    settings: SuperpositionSettings,
    betas: Sequence[float],
    fits: bool,
    home: Path,
    *,
    progress: bool = False,
) -> None:
    store(run_superposition(settings, betas, fits=fits, progress=progress), home / RESULT)


def superposition_result(job: Job) -> SuperpositionResult:
    """What a finished job found."""
    return recall(SuperpositionResult, job.done)


def structure_job(settings: StructureSettings, folder: Path) -> Job:
    """One structure and seed."""
    name = settings_name("structured-superposition", settings, ("structure", "seed"))
    home = folder / name
    return Job(name, _run_structure, (settings, home), home / RESULT, 25.0, shows=True)


def _run_structure(settings: StructureSettings, home: Path, *, progress: bool = False) -> None:
    store(run_structure(settings, progress=progress), home / RESULT)


def structure_result(job: Job) -> StructureResult:
    """What a finished job found."""
    return recall(StructureResult, job.done)


def mlp_job(settings: MLPSettings, folder: Path, *, collapses: bool, fits: bool) -> Job:
    """One seed of the MLP."""
    name = settings_name("mlp", settings, ("seed", "p", "epochs"))
    if fits:
        _check_fits(settings)
    home = folder / name / f"course{'-collapses' * collapses}{'-fits' * fits}"
    weight = 30.0 + 30 * collapses + 30 * fits
    arguments = (settings, home, collapses, fits)
    return Job(name, _run_mlp, arguments, home / RESULT, weight, shows=True)


def _check_fits(settings: MLPSettings) -> None:
    """Refuse a linearization that memory was not meant for, before the training.

    Raises:
        UserError: says what does without.
    """
    p, rows = settings.p, settings.train_fraction * settings.p**2
    needed = 2 * 8 * rows * p * (settings.n + p)
    if needed > check_memory_budget(None):
        raise UserError(
            f"the linearization with p = {p} and n = {settings.n} takes {needed / 2**30:.0f} GiB: "
            "leave it out (--no-linearization), or take smaller ones."
        )


def _run_mlp(
    settings: MLPSettings, home: Path, collapses: bool, fits: bool, *, progress: bool = False
) -> None:
    result, _ = run_modular_mlp(settings, home, collapses=collapses, fits=fits, progress=progress)
    store(result, home / RESULT)


def mlp_result(job: Job) -> tuple[MLPResult, Course]:
    """What a finished job found."""
    return recall(MLPResult, job.done), Course.load(job.done.parent / COURSE)


def induction_job(settings: InductionSettings, folder: Path) -> Job:
    """One seed of the induction heads."""
    name = settings_name("induction", settings, ("seed", "steps"))
    home = folder / name
    return Job(name, _run_induction, (settings, home), home / RESULT, shows=True)


def _run_induction(settings: InductionSettings, home: Path, *, progress: bool = False) -> None:
    store(run_induction(settings, home / "checkpoints", progress=progress), home / RESULT)


def induction_result(job: Job) -> InductionResult:
    """What a finished job found."""
    return recall(InductionResult, job.done)
