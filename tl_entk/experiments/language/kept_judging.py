"""What judging found, kept by what it was found from: a second identical run judges nothing again.

A result lies under a hash of everything that it depends on: scores, labels, split, seed, numbers of
resamples, and the versions of what computes. Whatever changes has another name, and is judged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from feature_sets.errors import UserError
from feature_sets.feature_set import FeatureSet
from tl_entk.alignment.best_directions import (
    DirectionRow,
    DirectionTable,
    LayerDirection,
    best_directions,
)
from tl_entk.alignment.bootstrap import IntervalEstimate, Resampling, Samples
from tl_entk.alignment.comparison import (
    Comparison,
    ComparisonRow,
    probe_bases,
    probe_validation,
)
from tl_entk.alignment.names import Probe
from tl_entk.alignment.ranking import METRICS
from tl_entk.alignment.readout_sweep import Candidate, SweepRow, judge_sweep
from tl_entk.alignment.splitting import Groups
from tl_entk.model.provenance import versions
from tl_entk.tools.files import read_kept, read_tensors, refuse_damaged, write_kept, write_tensors

# raised where judging comes to find something else
_METHOD = 1
_KIND = "judged"
_NUMBERS = "numbers.json"
# steps of the bar: of a table, of one with p-values, of probes on one basis
TABLE_STEPS, NULL_STEPS = 1, 4
PROBE_STEPS: dict[Probe, int] = {"ridge": 1, "logistic": 40}

Parts = tuple[dict[str, Tensor], dict[str, Any]]


class KeptJudging:
    """Judges as the functions of ``tl_entk.alignment`` do, but for what the folder has already.

    Used in a ``with`` statement, at whose end the numbers are written.

    Args:
        folder: where results are kept; None keeps nothing.
        advance: called with the steps of each result, kept or not.
        progress: show bars of what takes longest, beside.
    """

    def __init__(
        self,
        folder: Path | None = None,
        advance: Callable[[int], object] = lambda steps: None,
        progress: bool = False,
    ) -> None:
        self._folder, self._advance, self._progress = folder, advance, progress
        self._numbers = read_if_whole(folder / _NUMBERS) if folder else {}
        self._changed = False

    def __enter__(self) -> KeptJudging:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # of an interrupted run too
        if self._folder and self._changed:
            write_kept(self._folder / _NUMBERS, self._numbers)

    def table(self, scores: Tensor, features: FeatureSet, **options: Any) -> DirectionTable:
        """As ``best_directions``."""
        found = self._result(
            content_key("table", scores, features, options),
            lambda: best_directions(scores, features, **options),
            _table_parts,
            _table_of,
        )
        self._advance(TABLE_STEPS if options.get("n_permutations") == 0 else NULL_STEPS)
        return found

    def sweep_row(
        self,
        candidate: Candidate,
        layers: Mapping[str, Tensor],
        features: FeatureSet,
        *,
        seed: int = 0,
        groups: Groups | None = None,
    ) -> SweepRow:
        """As ``judge_sweep`` of one candidate."""

        def judge() -> dict[str, Any]:
            (row,) = judge_sweep({candidate: layers}, features, seed=seed, groups=groups)
            return {"validation": row.validation, "by_layer": row.by_layer}

        found = self._number(content_key("sweep", dict(layers), features, seed, groups), judge)
        self._advance(TABLE_STEPS)
        return SweepRow(candidate, found["validation"], dict(found["by_layer"]))

    def probes(
        self, bases: Mapping[str, Tensor], features: FeatureSet, probe: Probe, **options: Any
    ) -> Comparison:
        """As ``probe_bases``."""
        found = self._result(
            content_key("probes", dict(bases), features, probe, options),
            lambda: probe_bases(bases, features, probe=probe, progress=self._progress, **options),
            _comparison_parts,
            _comparison_of,
        )
        self._advance(PROBE_STEPS[probe] * len(bases))
        return found

    def probe_validation(self, scores: Tensor, features: FeatureSet, seed: int) -> float:
        """As the function of that name."""
        key = content_key("probe validation", scores, features, seed)
        found = self._number(key, lambda: probe_validation(scores, features, seed))
        self._advance(TABLE_STEPS)
        return float(found)

    def _number(self, key: str, judge: Callable[[], Any]) -> Any:
        if key not in self._numbers:
            self._numbers[key] = judge()
            self._changed = True
        return self._numbers[key]

    def _result(
        self,
        key: str,
        judge: Callable[[], Any],
        parts_of: Callable[[Any], Parts],
        restore: Callable[[dict[str, Tensor], dict[str, Any]], Any],
    ) -> Any:
        if self._folder is None:
            return judge()
        path = self._folder / f"{key}.safetensors"
        kept = _read_parts(path, key)
        if kept is not None:
            with refuse_damaged(path, "result of judging"):
                return restore(*kept)
        found = judge()
        tensors, about = parts_of(found)
        write_tensors(path, tensors, kind=_KIND, about={"judged": about, "key": key})
        return found


def content_key(*inputs: Any) -> str:
    """Twenty digits that differ where any input of a judgment does, or what computes it.

    Args:
        inputs: tensors, arrays, feature sets, numbers, text, and tuples, lists and dictionaries of
            these.

    Example:
        >>> ones = torch.ones(2)
        >>> content_key(ones, {"seed": 0}) == content_key(ones.clone(), {"seed": 0})
        True
        >>> content_key(ones, {"seed": 0}) == content_key(ones, {"seed": 1})
        False
    """
    digest = hashlib.sha256()
    _add((_METHOD, versions(), inputs), digest)
    return digest.hexdigest()[:20]


def _add(value: Any, digest: Any) -> None:
    """Every part with its kind and size before it, so that no two inputs read the same."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().contiguous().numpy()
    if isinstance(value, np.ndarray):
        digest.update(f"array {value.dtype} {value.shape} ".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    elif is_dataclass(value):
        _add({field.name: getattr(value, field.name) for field in fields(value)}, digest)
    elif isinstance(value, Mapping):
        _add([part for item in value.items() for part in item], digest)
    elif isinstance(value, tuple | list):
        digest.update(f"list {len(value)} ".encode())
        for part in value:
            _add(part, digest)
    else:
        text = repr(value)
        digest.update(f"{type(value).__name__} {len(text)} {text} ".encode())


def read_if_whole(path: Path) -> dict[str, Any]:
    """What a file keeps by its keys; nothing where there is none, or a damaged one.

    Example:
        >>> read_if_whole(Path("nowhere"))
        {}
    """
    try:
        return read_kept(path)
    except (FileNotFoundError, UserError):
        return {}


def _read_parts(path: Path, key: str) -> Parts | None:
    """What a file has, if it is whole and of this key."""
    if not path.exists():
        return None
    try:
        _, tensors, about = read_tensors(path, _KIND)
    except UserError:  # damaged: judged again
        return None
    return (tensors, about["judged"]) if about.get("key") == key else None


def _table_parts(table: DirectionTable) -> Parts:
    tensors = {"labels": torch.from_numpy(table.labels)}
    for metric, samples in table.samples.items():
        tensors |= _samples_parts(metric, samples)
    about = {
        "rows": [asdict(row) for row in table.rows],
        "k": table.k,
        "n_test": table.n_test,
        "resampling": list(table.resampling),
        "provenance": table.provenance,
        "bounds": {metric: list(samples.bounds) for metric, samples in table.samples.items()},
    }
    return tensors, about


def _table_of(tensors: dict[str, Tensor], about: dict[str, Any]) -> DirectionTable:
    return DirectionTable(
        tuple(_row_of(row) for row in about["rows"]),
        about["k"],
        about["n_test"],
        Resampling(*about["resampling"]),
        about["provenance"],
        {name: _samples_of(name, tensors, bounds) for name, bounds in about["bounds"].items()},
        tensors["labels"].numpy(),
    )


def _row_of(row: dict[str, Any]) -> DirectionRow:
    estimates = {metric: IntervalEstimate(**row[metric]) for metric in METRICS}
    return DirectionRow(**{**row, **estimates, "place": LayerDirection(*row["place"])})


def _comparison_parts(comparison: Comparison) -> Parts:
    tensors: dict[str, Tensor] = {}
    for basis, metrics in comparison.samples.items():
        for metric, samples in metrics.items():
            tensors |= _samples_parts(f"{basis}/{metric}", samples)
    about = {
        "rows": [asdict(row) for row in comparison.rows],
        "k": comparison.k,
        "n_test": comparison.n_test,
        "provenance": comparison.provenance,
        "bounds": {
            basis: {metric: list(samples.bounds) for metric, samples in metrics.items()}
            for basis, metrics in comparison.samples.items()
        },
    }
    return tensors, about


def _comparison_of(tensors: dict[str, Tensor], about: dict[str, Any]) -> Comparison:
    return Comparison(
        tuple(_comparison_row_of(row) for row in about["rows"]),
        about["k"],
        about["n_test"],
        about["provenance"],
        {
            basis: {
                metric: _samples_of(f"{basis}/{metric}", tensors, ends)
                for metric, ends in bounds.items()
            }
            for basis, bounds in about["bounds"].items()
        },
    )


def _comparison_row_of(row: dict[str, Any]) -> ComparisonRow:
    metrics = {name: _estimates(found) for name, found in row["metrics"].items()}
    return ComparisonRow(
        **{
            **row,
            "scores": _estimates(row["scores"]),
            "difference": IntervalEstimate(**row["difference"]),
            "metrics": metrics,
        }
    )


def _estimates(found: dict[str, Any]) -> dict[str, IntervalEstimate]:
    return {name: IntervalEstimate(**estimate) for name, estimate in found.items()}


def _samples_parts(name: str, samples: Samples) -> dict[str, Tensor]:
    return {
        f"{name}/values": torch.from_numpy(samples.values),
        f"{name}/resampled": torch.from_numpy(samples.resampled),
    }


def _samples_of(name: str, tensors: dict[str, Tensor], bounds: list[float]) -> Samples:
    values, resampled = tensors[f"{name}/values"], tensors[f"{name}/resampled"]
    return Samples(values.numpy(), resampled.numpy(), (bounds[0], bounds[1]))
