"""The course of a training: what was recorded step by step, and where it rises most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from feature_sets.display import Shown, list_some
from feature_sets.errors import UserError
from tl_entk.tools.files import (
    locate_saved,
    read_tensors,
    refuse_damaged,
    with_suffix,
    write_tensors,
)
from tl_entk.tools.indices import is_index_tensor
from tl_entk.tools.values import check_at_least, check_kind, check_positive

_TABLES = ("eigenvalues", "overlaps", "metrics", "seconds")
_WHAT = "course of tl_entk.Track"


@dataclass(frozen=True)
class Peak:
    """Largest derivative of a course: the step it is at, and its value per step."""

    step: int
    value: float


@dataclass(frozen=True, eq=False, repr=False)
class Course(Shown):
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

    Raises:
        UserError: if a column has another number of records, or an overlap no maximum.

    Example:
        >>> steps, flat = torch.tensor([0, 5, 10]), torch.ones(3, 1)
        >>> overlaps = {"sum": torch.tensor([0.0, 1.0, 4.0])}
        >>> course = Course(steps, {"total": flat}, overlaps, {"sum": 4}, {}, {})
        >>> course.peak("sum")
        Peak(step=10, value=0.6)
        >>> course.before(10).steps.tolist()
        [0, 5]
    """

    steps: Int[Tensor, " s"]
    eigenvalues: dict[str, Float[Tensor, "s k"]]
    overlaps: dict[str, Float[Tensor, " s"]]
    max_overlap: dict[str, int]
    metrics: dict[str, Float[Tensor, " s"]]
    seconds: dict[str, Float[Tensor, " s"]]
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not is_index_tensor(self.steps) or self.steps.ndim != 1:
            raise UserError("steps is no tensor of integers: pass one per record, (S,).")
        for table in (*_TABLES, "max_overlap"):
            check_kind(table, getattr(self, table), Mapping, "a mapping from names")
        for table in _TABLES:
            for name, column in getattr(self, table).items():
                check_kind(f"{table} of {name!r}", column, Tensor, "a tensor")
                if len(column) != len(self):
                    raise UserError(
                        f"{table} of {name!r} has {len(column)} records, steps {len(self)}: pass "
                        "one each."
                    )
        missing = [name for name in self.overlaps if name not in self.max_overlap]
        if missing:
            raise UserError(f"max_overlap lacks {missing[0]!r}: pass one for every overlap.")

    def __len__(self) -> int:
        return len(self.steps)

    def _lines(self) -> list[str]:
        span = f", steps {int(self.steps[0])} to {int(self.steps[-1])}" if len(self) else ""
        ends = [
            f"{name} {float(values[-1]):.3g} of {self.max_overlap[name]}"
            for name, values in self.overlaps.items()
            if len(values)
        ]
        return [
            f"Course: {len(self)} records{span}, kernels {list_some(self.eigenvalues)}",
            *([f"overlaps at the end: {list_some(ends)}"] if ends else []),
        ]

    def to_pandas(self) -> Any:
        """A row per record: step, every overlap and metric by name, and the kernels' eigenvalues.

        Columns are "overlap: NAME", "metric: NAME" and "eigenvalue: KERNEL 0" and so on.
        """
        import pandas as pd

        columns = {"step": self.steps.numpy()}
        columns |= {f"overlap: {name}": t.numpy() for name, t in self.overlaps.items()}
        columns |= {f"metric: {name}": t.numpy() for name, t in self.metrics.items()}
        columns |= {
            f"eigenvalue: {name} {mode}": values.numpy()
            for name, table in self.eigenvalues.items()
            for mode, values in enumerate(table.unbind(1))
        }
        return pd.DataFrame(columns)

    def _shown_table(self) -> Any:
        whole = self.to_pandas()
        return whole[[name for name in whole if not name.startswith("eigenvalue")]]

    def derivative(self, name: str) -> Float[Tensor, " s"]:
        """Derivative of an overlap per step, by central differences on the steps as they lie.

        Args:
            name: of a watch.

        Raises:
            KeyError: for an unknown watch.
            UserError: if there are fewer than two records.

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
            raise UserError("a derivative takes two records: record at more steps.")
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
            UserError: if the training took no time.
        """
        check_positive("training_seconds", training_seconds, ", its wall time without tracking")
        return self.tracking_seconds / training_seconds

    def joined(self, record: Course) -> Course:
        """This course and later records of the same kernels and watches; provenance is theirs.

        Args:
            record: what comes after; a metric that either of the two lacks is NaN there.

        Raises:
            UserError: for what is no course.
        """
        check_kind("record", record, Course, "a Course")
        tables: dict[str, Any] = {}
        for table in _TABLES:
            old, new = getattr(self, table), getattr(record, table)
            gaps = [torch.full((len(c),), torch.nan, dtype=torch.float64) for c in (self, record)]
            tables[table] = {
                name: torch.cat([old.get(name, gaps[0]), new.get(name, gaps[1])])
                for name in old | new
            }
        return replace(record, steps=torch.cat([self.steps, record.steps]), **tables)

    def before(self, step: int) -> Course:
        """The records before a step, none if there are none.

        Raises:
            UserError: for what is no step.
        """
        check_at_least("step", step, 0)
        keep = int((self.steps < step).sum())
        tables: dict[str, Any] = {
            table: {name: column[:keep] for name, column in getattr(self, table).items()}
            for table in _TABLES
        }
        return replace(self, steps=self.steps[:keep], **tables)

    def save(self, path: str | Path) -> Path:
        """Write one safetensors file, whole or not at all; names and provenance in its header.

        Args:
            path: the file; ``.safetensors`` is added where it is missing.

        Returns:
            The path written.

        Raises:
            UserError: for a path that names no file, or provenance that JSON cannot hold.
            OSError: if the folder cannot be written to.
        """
        self._check()
        tensors = {"steps": self.steps}
        for table in _TABLES:
            tensors |= {f"{table}/{name}": t for name, t in getattr(self, table).items()}
        names = {table: list(getattr(self, table)) for table in _TABLES}
        fields = {"names": names, "max_overlap": self.max_overlap}
        path = with_suffix(path)
        about = {"fields": fields, "provenance": self.provenance}
        write_tensors(path, tensors, kind="Course", about=about)
        return path

    @classmethod
    def load(cls, path: str | Path) -> Course:
        """Read what :meth:`save` or a ``Track`` wrote.

        Raises:
            FileNotFoundError: if there is no such file.
            UserError: if it is no course.
        """
        path = locate_saved(path)
        found = read_tensors(path, "Course", _WHAT)
        return cls.from_file(path, found.tensors, found.about)

    @classmethod
    def from_file(cls, path: Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> Course:
        """A course from what its file holds.

        Raises:
            UserError: if something is missing, or does not belong together.
        """
        with refuse_damaged(path, _WHAT):
            names, most = about["fields"]["names"], dict(about["fields"]["max_overlap"])
            tables = {t: {name: tensors[f"{t}/{name}"] for name in names[t]} for t in _TABLES}
            given = dict(about["provenance"])
            course = cls(tensors["steps"], max_overlap=most, provenance=given, **tables)
            course._check()
            return course

    def _check(self) -> None:
        """Refuse a course whose columns do not belong together.

        Raises:
            UserError: says which do not.
        """
        if self.steps.ndim != 1 or self.steps.dtype != torch.int64:
            raise UserError(f"steps are {self.steps.dtype} of shape {tuple(self.steps.shape)}.")
        if bool((self.steps.diff() <= 0).any()):
            raise UserError("steps do not increase.")
        for table in _TABLES:
            for name, column in getattr(self, table).items():
                wanted = 1 + (table == "eigenvalues")
                if column.ndim != wanted or len(column) != len(self):
                    raise UserError(f"{table} {name!r} has shape {tuple(column.shape)}.")
                if not column.is_floating_point():
                    raise UserError(f"{table} {name!r} is of {column.dtype}.")
                if table != "metrics" and not bool(column.isfinite().all()):
                    raise UserError(f"{table} {name!r} is not finite.")
        if set(self.overlaps) != set(self.max_overlap):
            raise UserError("overlaps and max_overlap are of different watches.")
