"""Dynamics: the eNTK followed through a training, at the steps one chooses.

The training loop calls a ``Track``. Where a record is due it computes the kernels, keeps their
leading eigenvalues and the overlap of runs of eigendirections with features, and leaves model,
gradients and random stream as they were. What it gathered is a ``Course``.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from feature_sets.feature_set import FeatureSet
from tl_entk.alignment import Features, subspace_overlap
from tl_entk.blocks import KernelBlocks
from tl_entk.eigen import eigendecompose
from tl_entk.onset import TABLES, Course, with_suffix
from tl_entk.provenance import versions

Kernels = Callable[[Any], Mapping[str, Tensor]]
Metrics = Mapping[str, Any] | Callable[[], Mapping[str, Any]]

TOTAL = "total"


@dataclass(frozen=True, eq=False)
class Watch:
    """A run of a kernel's eigendirections whose overlap with a feature family is followed.

    Attributes:
        kernel: name of the kernel; ``"total"`` is all of them together.
        modes: numbers of the eigendirections, from 0, largest eigenvalue first.
        features: a FeatureSet or an (N, F) tensor.
        max_overlap: the smaller of the two dimensions.

    Raises:
        ValueError: if modes are none, repeated, negative or beyond the N examples, or a feature is
            constant.

    Example:
        >>> Watch("total", range(1, 3), torch.eye(4)[:, :3]).max_overlap
        2
    """

    kernel: str
    modes: Sequence[int]
    features: Features
    max_overlap: int = field(init=False)

    def __post_init__(self) -> None:
        modes, shape = list(self.modes), self.values.shape
        if not modes or len(set(modes)) < len(modes):
            raise ValueError(f"modes = {self.modes}: pass one or more, each once, as range(1, 57).")
        if len(shape) != 2:
            raise ValueError(f"features have shape {tuple(shape)}: pass (examples, features).")
        if min(modes) < 0 or max(modes) >= shape[0]:
            raise ValueError(
                f"modes {min(modes)} to {max(modes)}: a kernel of {shape[0]} examples has modes 0 "
                f"to {shape[0] - 1}."
            )
        # any orthonormal directions tell the largest overlap
        largest = subspace_overlap(torch.eye(shape[0], len(modes)), self.features).max_overlap
        object.__setattr__(self, "max_overlap", largest)

    @property
    def values(self) -> Tensor:
        """Feature values (N, F)."""
        if isinstance(self.features, FeatureSet):
            return torch.from_numpy(self.features.values)
        return self.features.detach().cpu()

    def identity(self) -> dict[str, Any]:
        """What tells this watch from others, as plain JSON values."""
        values = self.values.double().contiguous().numpy()
        digest = hashlib.sha256(values.tobytes()).hexdigest()[:16]
        return {"kernel": self.kernel, "modes": list(self.modes), "features_sha256": digest}


class Track:
    """A callback for a training loop that follows kernels, overlaps and metrics.

    At every step of ``at`` it keeps, per kernel K, the top eigenvalues K v_i = theta_i v_i and,
    per watch, the overlap ||Q_V^T Q_F||_F^2 of its eigendirections V with its centred features F.
    Kernels and metrics are computed with the model in evaluation mode; training flags, gradients
    and torch's random stream come back as they were, after an error too.

    Args:
        kernels: model to kernels by name, each (N, N): KernelBlocks, or any mapping.
        overlaps: name to Watch. The kernel ``"total"`` is an entry of that name if there is one,
            else what ``KernelBlocks.total`` makes of the entries.
        at: steps to record.
        k: eigenvalues kept per kernel; at least as many as the watched modes reach.
        kernels_kept: kernels whose eigenvalues are kept beside those of the watched ones.
        path: a file, written whole after every record and taken up again if it is there: the
            records before the first step that is called stay, those from it on are replaced.
        provenance: what else tells this training from others (seed, settings), as JSON values.

    Raises:
        TypeError, ValueError: for arguments that do not go together, or a file of another course.

    Source: arXiv 2510.00468, section 3 (dynamics).

    Example:
        >>> from feature_sets import fourier
        >>> from tl_entk import kernel_blocks
        >>> from tl_entk.experiments import ModularSettings, build_model, modular_data
        >>> settings = ModularSettings(p=5)
        >>> model, data = build_model(settings), modular_data(settings)
        >>> sums = fourier(data.a.numpy(), data.b.numpy(), 5, families=["a+b"])
        >>> track = Track(
        ...     lambda model: kernel_blocks(model, data.tokens, components="unembed.W_U"),
        ...     {"sum": Watch("total", range(1, 5), sums)},
        ...     at=range(0, 21, 10),
        ...     k=8,
        ... )
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        >>> for step in range(21):
        ...     loss = model(data.tokens).square().mean()
        ...     track(step, model, {"loss": loss.detach()})
        ...     optimizer.zero_grad()
        ...     loss.backward()
        ...     optimizer.step()
        >>> course = track.course()
        >>> course.steps.tolist(), course.max_overlap, course.eigenvalues["total"].shape
        ([0, 10, 20], {'sum': 4}, torch.Size([3, 8]))
    """

    def __init__(
        self,
        kernels: Kernels,
        overlaps: Mapping[str, Watch] | None = None,
        *,
        at: Collection[int],
        k: int,
        kernels_kept: Collection[str] = (),
        path: str | Path | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        self.kernels, self.watches, self.k = kernels, dict(overlaps or {}), k
        self.at = frozenset(at)
        self.path = None if path is None else with_suffix(path)
        watched = [watch.kernel for watch in self.watches.values()]
        self.names = list(dict.fromkeys([*watched, *kernels_kept]))
        self._check()
        about = {
            "k": k,
            "kernels": self.names,
            "watched": {name: watch.identity() for name, watch in self.watches.items()},
            "given": dict(provenance or {}),
        }
        try:
            self._about = json.loads(json.dumps(about))
        except TypeError as error:
            raise TypeError(f"provenance cannot be saved ({error}): pass JSON values.") from error
        self._course: Course | None = None
        self._last: int | None = None
        if self.path is not None and self.path.exists():
            self._course = Course.load(self.path)
            self._refuse_other(self._about)

    def __call__(self, step: int, model: Any, metrics: Metrics | None = None) -> None:
        """Record, if this step is due; the first call checks the kernels in any case (untimed).

        Args:
            step: of the training; larger at every call.
            model: what the kernels are of.
            metrics: numbers by name, or a function that gives them, called only when due.

        Raises:
            TypeError, ValueError: for steps that do not increase, metrics that are no numbers,
                or kernels that are not those promised.
        """
        if self._last is None:
            self._course = _before(self._course, step)
        elif step <= self._last:
            raise ValueError(
                f"step {step} comes after step {self._last}: call with increasing steps; for "
                "another training make another Track."
            )
        if step in self.at:
            self._record(step, model, metrics)
        elif self._last is None:
            with _as_it_was(model):
                self._compute(model)
        self._last = step

    def course(self) -> Course:
        """All records so far, those taken up from the file included.

        Raises:
            ValueError: if there is none yet.
        """
        if self._course is None:
            raise ValueError(f"no record yet: call at one of the steps {sorted(self.at)[:6]} ...")
        return self._course

    def _check(self) -> None:
        """Refuse arguments that do not go together."""
        if not self.at:
            raise ValueError("at is empty: pass the steps to record, for example range(0, 501, 5).")
        if not self.names:
            raise ValueError("no kernel to follow: pass overlaps, or names in kernels_kept.")
        self.lengths: dict[str, int] = {}
        for name, watch in self.watches.items():
            n = self.lengths.setdefault(watch.kernel, len(watch.values))
            if len(watch.values) != n:
                raise ValueError(
                    f"features of {name!r} are of {len(watch.values)} examples, others of kernel "
                    f"{watch.kernel!r} of {n}: pass features of the kernel's examples."
                )
            if max(watch.modes) >= self.k:
                raise ValueError(
                    f"{name!r} watches mode {max(watch.modes)}, but only k = {self.k} are kept: "
                    f"pass k={max(watch.modes) + 1} or more."
                )
        most = min(self.lengths.values(), default=self.k)
        if not 1 <= self.k <= most:
            raise ValueError(f"k = {self.k}: pass 1 to the number of examples, here {most}.")

    def _record(self, step: int, model: Any, metrics: Metrics | None) -> None:
        start = time.perf_counter()
        with _as_it_was(model):
            numbers = _numbers(metrics)
            measured = time.perf_counter()
            kernels, source = self._compute(model)
        computed = time.perf_counter()
        eigenvalues, overlaps = self._directions(step, kernels)
        ended = time.perf_counter()
        seconds = {
            "total": ended - start,
            "kernels": computed - measured,
            "eigen": ended - computed,
            "metrics": measured - start,
        }
        record = Course(
            torch.tensor([step]),
            eigenvalues,
            _row(overlaps),
            {name: watch.max_overlap for name, watch in self.watches.items()},
            _row(numbers),
            _row(seconds),
            self._about | {"source": source, "versions": versions()},
        )
        self._course = record if self._course is None else _joined(self._course, record)
        if self.path is not None:
            self._course.save(self.path)
            # the file has this from the next record on
            self._course.seconds["total"][-1] = time.perf_counter() - start

    def _compute(self, model: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The kernels to follow, and what they say they are of."""
        with _gradients_aside(model):
            found = self.kernels(model)
        if not isinstance(found, Mapping):
            raise TypeError(
                f"kernels gave a {type(found).__name__}: let it return KernelBlocks, or "
                '{"total": K}.'
            )
        told = getattr(found, "provenance", {})
        source = {key: told[key] for key in told if key not in ("versions", "estimate")}
        source = json.loads(json.dumps(source, default=str))
        self._refuse_other({"source": source})
        chosen = {name: torch.as_tensor(_pick(found, name)).detach().cpu() for name in self.names}
        for name, kernel in chosen.items():
            n = self.lengths.get(name, len(kernel))
            if len(kernel) != n:
                raise ValueError(
                    f"kernel {name!r} is of {len(kernel)} examples, its features of {n}: pass both "
                    "for the same examples in the same order."
                )
            if self.k > len(kernel):
                raise ValueError(
                    f"k = {self.k}: kernel {name!r} has {len(kernel)} eigendirections; pass less."
                )
        return chosen, source

    def _directions(
        self, step: int, kernels: dict[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Eigenvalues (1, k) by kernel, and overlaps by watch."""
        values, overlaps = {}, {}
        for name, kernel in kernels.items():
            try:
                eigen = eigendecompose(kernel, self.k)
            except ValueError as error:
                error.add_note(f"kernel {name!r} at step {step}")
                raise
            values[name] = eigen.eigenvalues[None]
            for title, watch in self.watches.items():
                if watch.kernel == name:
                    directions = eigen.vectors[:, list(watch.modes)]
                    overlaps[title] = subspace_overlap(directions, watch.features).overlap
        return values, {title: overlaps[title] for title in self.watches}

    def _refuse_other(self, about: dict[str, Any]) -> None:
        """Refuse to go on with a course that differs in what is given here."""
        found = {} if self._course is None else self._course.provenance
        other = [key for key in about if found and found.get(key) != about[key]]
        if other:
            raise ValueError(
                f"the records so far differ in {other[0]!r}: {found.get(other[0])}, not "
                f"{about[other[0]]}. Pass what was passed then, another path, or delete the file."
            )


def _pick(kernels: Mapping[str, Tensor], name: str) -> Tensor:
    if name in kernels:
        return kernels[name]
    if name != TOTAL or not kernels:
        raise ValueError(
            f"kernels gives no {name!r}: there are {[*kernels][:8]} and {TOTAL!r}. Watch one of "
            "these, or let the function compute it."
        )
    blocks = kernels if isinstance(kernels, KernelBlocks) else KernelBlocks(dict(kernels))
    return blocks.total()


def _numbers(metrics: Metrics | None) -> dict[str, float]:
    values = metrics() if callable(metrics) else metrics or {}
    try:
        return {name: float(value) for name, value in values.items()}
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"a metric is no number ({error}): pass floats by name.") from error


def _row(values: Mapping[str, float]) -> dict[str, Tensor]:
    return {name: torch.tensor([value], dtype=torch.float64) for name, value in values.items()}


def _joined(course: Course, record: Course) -> Course:
    """A course and one record more; NaN where one of them lacks a metric."""
    tables: dict[str, Any] = {}
    for table in TABLES:
        old, new = getattr(course, table), getattr(record, table)
        gap = torch.full((len(course),), torch.nan, dtype=torch.float64)
        tables[table] = {
            name: torch.cat([old.get(name, gap), new.get(name, gap.new_full((1,), torch.nan))])
            for name in old | new
        }
    return replace(record, steps=torch.cat([course.steps, record.steps]), **tables)


def _before(course: Course | None, step: int) -> Course | None:
    """The records before a step."""
    keep = 0 if course is None else int((course.steps < step).sum())
    if course is None or keep == 0:
        return None
    tables: dict[str, Any] = {
        table: {name: column[:keep] for name, column in getattr(course, table).items()}
        for table in TABLES
    }
    return replace(course, steps=course.steps[:keep], **tables)


@contextmanager
def _as_it_was(model: Any) -> Iterator[None]:
    """Evaluation mode and a random stream of its own inside; flags and stream as before after."""
    flags = [(module, module.training) for module in _modules(model)]
    devices = {p.device.index for p in _parameters(model) if p.device.type == "cuda"}
    try:
        with torch.random.fork_rng(devices=sorted(devices)):
            for module, _ in flags[:1]:
                module.eval()
            yield
    finally:
        for module, training in flags:
            module.training = training


@contextmanager
def _gradients_aside(model: Any) -> Iterator[None]:
    """No parameter has a gradient inside; each has its own again after."""
    kept = [(parameter, parameter.grad) for parameter in _parameters(model)]
    try:
        for parameter, _ in kept:
            parameter.grad = None
        yield
    finally:
        for parameter, gradient in kept:
            parameter.grad = gradient


def _parameters(model: Any) -> list[nn.Parameter]:
    return list(model.parameters()) if isinstance(model, nn.Module) else []


def _modules(model: Any) -> list[nn.Module]:
    """The model first, then all modules in it, and those it holds without registering them."""
    found: dict[int, nn.Module] = {}
    waiting = [model] if isinstance(model, nn.Module) else []
    while waiting:
        module = waiting.pop()
        if id(module) not in found:
            found[id(module)] = module
            waiting += [m for m in vars(module).values() if isinstance(m, nn.Module)]
            waiting += module.children()
    return list(found.values())
