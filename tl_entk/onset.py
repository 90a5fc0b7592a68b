"""The course of a training and what is read off it: steepest rise, onset of grokking, order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from torch import Tensor

from tl_entk.files import write_tensors

Relation = Literal["precedes", "matches", "follows"]

Steps = Sequence[int] | Int[np.ndarray, " s"] | Int[Tensor, " s"]
Accuracies = Sequence[float] | Float[np.ndarray, " s"] | Float[Tensor, " s"]

TABLES = ("eigenvalues", "overlaps", "metrics", "seconds")


@dataclass(frozen=True)
class Peak:
    """Largest derivative of a course: the step it is at, and its value per step."""

    step: int
    value: float


@dataclass(frozen=True, eq=False)
class Course:
    """What a ``Track`` gathered: one row per record, in the order of the steps.

    Attributes:
        steps: (S,).
        eigenvalues: name of a kernel to (S, k), largest first.
        overlaps: name of a watch to (S,), each between 0 and its ``max_overlap``.
        max_overlap: name of a watch to the largest overlap there could be.
        metrics: name to (S,), NaN where a record came without it.
        seconds: wall time of every record, (S,) each: ``"total"`` (writing it included), and of
            it ``"kernels"``, ``"eigen"`` (eigendirections and overlaps) and ``"metrics"``.
        provenance: k, kernels and their own provenance, watches, what the user gave, versions.
    """

    steps: Int[Tensor, " s"]
    eigenvalues: dict[str, Float[Tensor, "s k"]]
    overlaps: dict[str, Float[Tensor, " s"]]
    max_overlap: dict[str, int]
    metrics: dict[str, Float[Tensor, " s"]]
    seconds: dict[str, Float[Tensor, " s"]]
    provenance: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.steps)

    def derivative(self, name: str) -> Float[Tensor, " s"]:
        """Derivative of an overlap per step, by central differences on the steps as they lie.

        Args:
            name: of a watch.

        Raises:
            KeyError: for a watch that there is not.
            ValueError: if there are fewer than two records.

        Source: arXiv 2510.00468, section 3.

        Example:
            >>> steps, flat = torch.tensor([0, 1, 3]), torch.ones(3, 1)
            >>> overlaps = {"sum": torch.tensor([0.0, 1.0, 9.0])}
            >>> course = Course(steps, {"total": flat}, overlaps, {"sum": 9}, {}, {})
            >>> [round(slope, 3) for slope in course.derivative("sum").tolist()]
            [1.0, 2.0, 4.0]
        """
        if name not in self.overlaps:
            raise KeyError(f"no overlap {name!r} was followed: there are {list(self.overlaps)}.")
        if len(self) < 2:
            raise ValueError("a derivative takes two records: record at more steps.")
        values = self.overlaps[name].double().numpy()
        return torch.from_numpy(np.gradient(values, self.steps.double().numpy()))

    def peak(self, name: str) -> Peak:
        """The record at which an overlap's derivative is largest, the first of equals.

        Args:
            name: of a watch.

        Raises:
            KeyError, ValueError: as :meth:`derivative`.
        """
        slopes = self.derivative(name)
        where = int(slopes.argmax())
        return Peak(int(self.steps[where]), float(slopes[where]))

    @property
    def tracking_seconds(self) -> float:
        """Wall time of all the records together."""
        return float(self.seconds["total"].sum())

    def share_of(self, training_seconds: float) -> float:
        """Share that tracking adds: its wall time over that of the training without it.

        Raises:
            ValueError: if the training took no time.
        """
        if training_seconds <= 0:
            raise ValueError(f"training_seconds = {training_seconds}: pass its wall time without.")
        return self.tracking_seconds / training_seconds

    def save(self, path: str | Path) -> Path:
        """Write one safetensors file, whole or not at all; names and provenance in its header.

        Args:
            path: the file; ``.safetensors`` is added where it is missing.

        Returns:
            The path written.

        Raises:
            OSError: if the folder cannot be written to.
        """
        tensors = {"steps": self.steps}
        for table in TABLES:
            tensors |= {f"{table}/{name}": t for name, t in getattr(self, table).items()}
        names = {table: list(getattr(self, table)) for table in TABLES}
        info = {
            "kind": "Course",
            "fields": {"names": names, "max_overlap": self.max_overlap},
            "provenance": self.provenance,
        }
        path = with_suffix(path)
        write_tensors(path, tensors, {"tl_entk": json.dumps(info)})
        return path

    @classmethod
    def load(cls, path: str | Path) -> Course:
        """Read what :meth:`save` or a ``Track`` wrote.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is no course.
        """
        path = with_suffix(path)
        if not path.exists():
            raise FileNotFoundError(f"no file {path}: pass the path of a Track or Course.save.")
        try:
            with safe_open(path, framework="pt") as file:
                info = json.loads((file.metadata() or {}).get("tl_entk", "{}"))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise ValueError(f"{path} is no course ({error}): pass another path.") from error
        if info.get("kind") != "Course":
            raise ValueError(f"{path} is no course of tl_entk.Track: pass another path.")
        names = info["fields"]["names"]
        tables = {t: {name: tensors[f"{t}/{name}"] for name in names[t]} for t in TABLES}
        most = info["fields"]["max_overlap"]
        return cls(tensors["steps"], max_overlap=most, provenance=info["provenance"], **tables)


def onset(
    steps: Steps, accuracy: Accuracies, rise: float = 0.1, *, least_rise: float = 0.2
) -> int | None:
    """First step from which on accuracy >= low + rise (high - low), to the end of the course.

    The accuracy is read through a running median of three records, which leaves a steady rise as
    it is and passes over a dip or spike of a single record, a last one included. ``low`` and
    ``high`` are the smallest and the largest value of that median. The low level always lies
    before the onset, since no record after the onset is below the threshold.

    Args:
        steps: (S,) increasing steps of the records.
        accuracy: (S,) fractions between 0 and 1; records with NaN are left out.
        rise: share of the way from low to high that counts as the onset, between 0 and 1.
        least_rise: the smallest high - low that counts as a rise at all.

    Returns:
        One of the steps; None where the accuracy never rises by ``least_rise``, or is back below
        the threshold at the end.

    Raises:
        ValueError: if lengths differ, steps do not increase, fewer than three records have an
            accuracy, one is no fraction, or rise is not between 0 and 1.

    Source: arXiv 2510.00468, section 3 (the onset of grokking; the rule is ours).

    Example:
        >>> onset([0, 10, 20, 30, 40, 50], [0.03, 0.04, 0.2, 0.7, 1.0, 1.0])
        20
        >>> onset([0, 10, 20, 30], [0.03, 0.05, 0.04, 0.05]) is None
        True
    """
    when, values = _records(steps, accuracy)
    if not 0 < rise < 1:
        raise ValueError(f"rise = {rise}: pass a share between 0 and 1, for example 0.1.")
    # at the end the record before stands in, so that one high last record is no rise for good
    padded = np.concatenate([values[:1], values, values[-2:-1]])
    level = np.median(np.lib.stride_tricks.sliding_window_view(padded, 3), axis=1)
    low, high = level.min(), level.max()
    if high - low < least_rise:
        return None
    last_below = np.flatnonzero(level < low + rise * (high - low))[-1]
    return int(when[last_below + 1]) if last_below + 1 < len(when) else None


def midpoint(steps: Steps, accuracy: Accuracies, *, least_rise: float = 0.2) -> int | None:
    """First step from which on the accuracy stays above the middle of its rise.

    The rule is that of :func:`onset` with ``rise=0.5``.

    Args:
        steps: (S,) increasing steps of the records.
        accuracy: (S,) fractions between 0 and 1; records with NaN are left out.
        least_rise: the smallest rise that counts as one.

    Returns:
        One of the steps, or None; see :func:`onset`.

    Raises:
        ValueError: as :func:`onset`.

    Source: arXiv 2510.00468, section 3 (the rule is ours).

    Example:
        >>> midpoint([0, 10, 20, 30, 40, 50], [0.03, 0.04, 0.2, 0.7, 1.0, 1.0])
        30
    """
    return onset(steps, accuracy, 0.5, least_rise=least_rise)


def relation(peak_step: int, onset_step: int, spacing: int) -> Relation:
    """Whether a peak comes before, at or after the onset: |peak - onset| <= spacing is at it.

    Args:
        peak_step: for example ``course.peak(name).step``.
        onset_step: what :func:`onset` found, in the same unit.
        spacing: steps from one record to the next, below which the two cannot be told apart.

    Returns:
        What the peak does: it "precedes", "matches" or "follows" the onset.

    Raises:
        ValueError: if spacing is not positive.

    Source: arXiv 2510.00468, section 3 (the overlap's derivative peaks near the onset).

    Example:
        >>> relation(85, 90, 5), relation(80, 90, 5), relation(100, 90, 5)
        ('matches', 'precedes', 'follows')
    """
    if spacing < 1:
        raise ValueError(f"spacing = {spacing}: pass the positive number of steps between records.")
    if abs(peak_step - onset_step) <= spacing:
        return "matches"
    return "precedes" if peak_step < onset_step else "follows"


def _records(steps: Steps, accuracy: Accuracies) -> tuple[np.ndarray, np.ndarray]:
    """Steps and accuracies of the records that have one."""
    when, values = _numbers(steps).astype(np.int64), _numbers(accuracy).astype(np.float64)
    if when.shape != values.shape or when.ndim != 1:
        raise ValueError(
            f"steps and accuracy have shapes {when.shape} and {values.shape}: pass one accuracy "
            "per step."
        )
    if (np.diff(when) <= 0).any():
        raise ValueError("the steps do not increase: sort the records and drop repeated ones.")
    known = ~np.isnan(values)
    when, values = when[known], values[known]
    if len(when) < 3:
        raise ValueError(f"{len(when)} records with an accuracy: pass three or more.")
    if values.min() < 0 or values.max() > 1:
        raise ValueError(
            f"accuracies from {values.min():g} to {values.max():g}: pass fractions between 0 and "
            "1, not percentages or losses."
        )
    return when, values


def _numbers(values: Steps | Accuracies) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        return values.detach().cpu().numpy()
    return np.asarray(values)


def with_suffix(path: str | Path) -> Path:
    """The path, ending in ``.safetensors``."""
    path = Path(path)
    return path if path.suffix == ".safetensors" else path.with_name(path.name + ".safetensors")
