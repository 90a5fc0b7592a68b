"""Dynamics: the eNTK followed through a training, at the steps one chooses.

The training loop calls a ``Track``. Where a record is due it computes the kernels, keeps their
leading eigenvalues and the overlap of runs of eigendirections with features, and leaves model,
gradients and random stream as they were. What it gathered is a ``Course``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from feature_sets.errors import UserError
from tl_entk.alignment.overlap import subspace_overlap
from tl_entk.directions.eigen import eigendecompose
from tl_entk.dynamics.course import Course
from tl_entk.dynamics.training_state import preserve_training_state, set_gradients_aside
from tl_entk.dynamics.watch import Watch, count_examples, find_kernel
from tl_entk.model.provenance import versions
from tl_entk.tools.arrays import to_tensor
from tl_entk.tools.files import to_json, with_suffix
from tl_entk.tools.values import check_at_least, check_kind, read_integers, read_names
from tl_entk.tools.whole_files import check_writable

Kernels = Callable[[Any], Mapping[str, Tensor]]
Metrics = Mapping[str, Any] | Callable[[], Mapping[str, Any]]


class Track:
    """A callback for a training loop that follows kernels, overlaps and metrics.

    At every step of ``at`` it keeps, per kernel K, the top eigenvalues K v_i = theta_i v_i and,
    per watch, the overlap ||Q_V^T Q_F||_F^2 of its eigendirections V with its centered features F.
    Kernels and metrics are computed with the model in evaluation mode; training flags, gradients
    and torch's random stream come back as they were, after an error too.

    Args:
        kernels: model to kernels by name, each (N, N): KernelBlocks, or any mapping.
        overlaps: name to Watch. The kernel ``"total"`` is an entry of that name if there is one,
            else what ``KernelBlocks.total`` makes of the entries.
        at: steps to record.
        k: eigenvalues kept per kernel, zeros beyond its rank; at least as many as the watched
            modes reach.
        kernels_kept: kernels whose eigenvalues are kept beside those of the watched ones.
        path: a file, written whole after every record and taken up again if it is there: the
            records before the first step that is called stay, those from it on are replaced.
        provenance: what else tells this training from others (seed, settings), as JSON values.

    Raises:
        UserError: for arguments that do not go together, or a file of another course.
        OSError: if the file cannot be written to.

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
        check_kind("kernels", kernels, Callable, "a function from the model to kernels by name")
        check_kind("overlaps", overlaps, (Mapping, type(None)), "a mapping from names to Watch")
        check_kind("provenance", provenance, (Mapping, type(None)), "a mapping of JSON values")
        self.kernels, self.watches, self.k = kernels, dict(overlaps or {}), k
        for name, watch in self.watches.items():
            check_kind(f"overlap {name!r}", watch, Watch, "a Watch")
        self.at = frozenset(read_integers("at", at))
        kept = read_names("kernels_kept", kernels_kept, unique=False, some=False)
        self.path = None if path is None else check_writable(with_suffix(path))
        watched = [watch.kernel for watch in self.watches.values()]
        self.names = list(dict.fromkeys([*watched, *kept]))
        self._check()
        about = {
            "k": k,
            "kernels": self.names,
            "watched": {name: watch.identity() for name, watch in self.watches.items()},
            "given": dict(provenance or {}),
        }
        # as it is read back
        self._about = json.loads(to_json(about, "provenance"))
        self._course: Course | None = None
        self._last: int | None = None
        if self.path is not None and self.path.exists():
            self._course = Course.load(self.path)
            self._refuse_other_course(self._about)

    def __call__(self, step: int, model: Any, metrics: Metrics | None = None) -> None:
        """Record, if this step is due; the first call checks the kernels in any case (untimed).

        Args:
            step: of the training; larger at every call.
            model: what the kernels are of.
            metrics: numbers by name, or a function that gives them, called only when due.

        Raises:
            UserError: for steps that do not increase, metrics that are no numbers,
                or kernels that are not those promised.
        """
        check_at_least("step", step, 0)
        if self._last is None:
            kept = None if self._course is None else self._course.before(step)
            self._course = kept or None
        elif step <= self._last:
            raise UserError(
                f"step {step} comes after step {self._last}: call with increasing steps; for "
                "another training make another Track."
            )
        if step in self.at:
            self._record(step, model, metrics)
        elif self._last is None:
            with preserve_training_state(model):
                self._compute_kernels(model)
        self._last = step

    def course(self) -> Course:
        """All records so far, those taken up from the file included.

        Raises:
            UserError: if there is none yet.
        """
        if self._course is None:
            raise UserError(f"no record yet: call at one of the steps {sorted(self.at)[:6]} ...")
        return self._course

    def _check(self) -> None:
        """Refuse arguments that do not go together."""
        if not self.at:
            raise UserError("at is empty: pass the steps to record, for example range(0, 501, 5).")
        if not self.names:
            raise UserError("no kernel to follow: pass overlaps, or names in kernels_kept.")
        self.lengths = count_examples(self.watches, self.k)

    def _record(self, step: int, model: Any, metrics: Metrics | None) -> None:
        start = time.perf_counter()
        with preserve_training_state(model):
            numbers = _read_metrics(metrics)
            measured = time.perf_counter()
            kernels, source = self._compute_kernels(model)
        computed = time.perf_counter()
        eigenvalues, overlaps = self._decompose_kernels(step, kernels)
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
            _as_row(overlaps),
            {name: watch.max_overlap for name, watch in self.watches.items()},
            _as_row(numbers),
            _as_row(seconds),
            self._about | {"source": source, "versions": versions()},
        )
        self._course = record if self._course is None else self._course.joined(record)
        if self.path is not None:
            self._course.save(self.path)
            # the file has this from the next record on
            self._course.seconds["total"][-1] = time.perf_counter() - start

    def _compute_kernels(self, model: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The kernels to follow, and what they are of."""
        with set_gradients_aside(model):
            found = self.kernels(model)
        if not isinstance(found, Mapping):
            raise UserError(
                f"kernels gave a {type(found).__name__}: let it return KernelBlocks, or "
                '{"total": K}.'
            )
        about = getattr(found, "provenance", {})
        source = {key: about[key] for key in about if key not in ("versions", "estimate")}
        source = json.loads(json.dumps(source, default=str))
        self._refuse_other_course({"source": source})
        named = {name: find_kernel(found, name) for name in self.names}
        chosen = {
            name: to_tensor(kernel, f"kernel {name!r}").cpu() for name, kernel in named.items()
        }
        for name, kernel in chosen.items():
            n = self.lengths.get(name, len(kernel))
            if len(kernel) != n:
                raise UserError(
                    f"kernel {name!r} is of {len(kernel)} examples, its features of {n}: pass both "
                    "for the same examples in the same order."
                )
            if self.k > len(kernel):
                raise UserError(
                    f"k = {self.k}: kernel {name!r} has {len(kernel)} eigendirections; pass less."
                )
        return chosen, source

    def _decompose_kernels(
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
            # beyond the kernel's rank there are none
            found = len(eigen.eigenvalues)
            values[name] = pad(eigen.eigenvalues, (0, self.k - found))[None]
            for title, watch in self.watches.items():
                if watch.kernel == name:
                    there = [mode for mode in watch.modes if mode < found]
                    directions = eigen.vectors[:, there]
                    overlaps[title] = (
                        subspace_overlap(directions, watch.features).overlap if there else 0.0
                    )
        return values, {title: overlaps[title] for title in self.watches}

    def _refuse_other_course(self, about: dict[str, Any]) -> None:
        """Refuse to go on with a course that differs in what is given here."""
        found = {} if self._course is None else self._course.provenance
        other = [key for key in about if found and found.get(key) != about[key]]
        if other:
            raise UserError(
                f"the records so far differ in {other[0]!r}: {found.get(other[0])}, not "
                f"{about[other[0]]}. Pass what was passed then, another path, or delete the file."
            )


def _read_metrics(metrics: Metrics | None) -> dict[str, float]:
    values = metrics() if callable(metrics) else metrics or {}
    if isinstance(values, Mapping):
        read_names("names of metrics", values, some=False)
    try:
        return {name: float(value) for name, value in values.items()}
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"a metric is no number ({error}): pass floats by name.") from error


def _as_row(values: Mapping[str, float]) -> dict[str, Tensor]:
    return {name: torch.tensor([value], dtype=torch.float64) for name, value in values.items()}
