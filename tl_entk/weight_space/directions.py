"""Eigendirections in the weights: unit changes of the weights, one for each eigenvector."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float
from torch import Tensor

from feature_sets.display import Shown, list_some
from feature_sets.errors import UserError
from tl_entk.kernel.normalizations import check_normalization
from tl_entk.model.readouts import ReadoutLike
from tl_entk.tools.values import check_place


@dataclass(frozen=True, eq=False, repr=False)
class WeightDirection(Shown):
    """One direction of some weights, of norm 1 over all of them.

    Attributes:
        weights: component to the direction's part of it, in TransformerLens' shape.
        eigenvalue: of the kernel that it is an eigendirection of.
    """

    weights: dict[str, Float[Tensor, " ..."]]
    eigenvalue: float

    def __getitem__(self, name: str) -> Float[Tensor, " ..."]:
        return find_component(self.weights, name)

    def _lines(self) -> list[str]:
        parts = [f"{name} {tuple(part.shape)}" for name, part in self.weights.items()]
        return [f"WeightDirection: eigenvalue {self.eigenvalue:.4g}", list_some(parts)]

    @property
    def shares(self) -> dict[str, float]:
        """Share of every component in the squared norm; they add up to 1."""
        squares = {name: float(part.double().square().sum()) for name, part in self.weights.items()}
        total = sum(squares.values())
        return {name: square / total for name, square in squares.items()}

    def to_pandas(self) -> Any:
        """A row per component: its shape, and its share in the squared norm."""
        import pandas as pd

        shapes = [" x ".join(map(str, part.shape)) for part in self.weights.values()]
        return pd.DataFrame(
            {"component": list(self.weights), "shape": shapes, "share": list(self.shares.values())}
        )


@dataclass(frozen=True, eq=False, repr=False)
class WeightDirections(Shown):
    """Directions u_i = J^T v_i / sqrt(lambda_i) of some weights, orthonormal over i.

    They score any window without those that they were found on: :meth:`project`.

    Attributes:
        weights: component to (k, ...) parts of the directions, in TransformerLens' shape.
        eigenvalues: (k,) of the kernel.
        sizes: (k,) what J_n u is divided by to be a score: sqrt(lambda), but for the readout's
            factor.
        readout: what the kernel is of.
        output: (r, k) the part of the outputs that scores are along, where every output has a row.
        offset: (k,) what is added to scores: of a centered kernel, less the mean of its windows.
        position: where the readout was read; None where that was a position of each window.
        class_slice: classes that it sees.
        normalization: of the kernel.
        each_component: whether each component's kernel was normalized before it was added.
        provenance: of the kernel, for people to read.
    """

    weights: dict[str, Float[Tensor, "k ..."]]
    eigenvalues: Float[Tensor, " k"]
    sizes: Float[Tensor, " k"]
    readout: ReadoutLike
    output: Float[Tensor, "r k"] | None
    offset: Float[Tensor, " k"]
    position: int | None = -1
    class_slice: slice | None = None
    normalization: str = "plain"
    each_component: bool = False
    provenance: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.eigenvalues)

    def __getitem__(self, direction: int) -> WeightDirection:
        check_place("direction", direction, len(self))
        parts = {name: part[direction] for name, part in self.weights.items()}
        return WeightDirection(parts, float(self.eigenvalues[direction]))

    def __iter__(self) -> Iterator[WeightDirection]:
        return (self[direction] for direction in range(len(self)))

    def _lines(self) -> list[str]:
        return [
            f"WeightDirections: {len(self)} directions of {len(self.weights)} components",
            list_some(list(self.weights)),
        ]

    def to_pandas(self) -> Any:
        """A row per direction: eigenvalue, and the share of every component in its norm."""
        import pandas as pd

        shares = pd.DataFrame([one.shares for one in self])
        shares.insert(0, "eigenvalue", self.eigenvalues.double().cpu().numpy())
        return shares.rename_axis("direction").reset_index()

    def project(
        self, model: Any, tokens: Any, **options: Any
    ) -> Float[Tensor, "n k"] | Float[Tensor, "n t k"]:
        """Scores of any windows: :func:`tl_entk.project`."""
        from tl_entk.weight_space.project import project

        return project(self, model, tokens, **options)


def check_weight_directions(found: WeightDirections) -> None:
    """Refuse directions whose parts do not belong together, or are not finite.

    Raises:
        UserError: says what is wrong.
    """
    k = len(found.eigenvalues)
    for name, part in found.weights.items():
        if part.ndim < 2 or len(part) != k or not bool(part.isfinite().all()):
            raise UserError(f"the directions of {name} are no {k} finite ones: compute them anew.")
    output = found.sizes if found.output is None else found.output
    for name, one in (("sizes", found.sizes), ("offset", found.offset), ("output", output)):
        if one.shape[-1:] != (k,) or not bool(one.isfinite().all()):
            raise UserError(f"{name} of directions are no {k} finite numbers: compute them anew.")
    if not found.weights or not bool((found.sizes > 0).all()):
        raise UserError("directions of no weights, or of size 0: compute them anew.")
    check_normalization(found.normalization)


def find_component(weights: Mapping[str, Tensor], name: str) -> Tensor:
    """The part of a direction in one component.

    Raises:
        UserError: if it has none.
    """
    if name not in weights:
        raise UserError(f"the direction has no {name!r}: it is of {', '.join(weights)}.")
    return weights[name]
