"""What a kernel was computed of: enough to take its eigendirections back to the weights."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from jaxtyping import Shaped
from torch import Tensor, nn

from feature_sets.errors import UserError
from tl_entk.model.checks import Position
from tl_entk.model.readouts import ReadoutLike, Targets


@dataclass(frozen=True, eq=False)
class Origin:
    """Windows, weights and readout of a kernel; the model too, as long as somebody holds it.

    Attributes:
        tokens: (n, t) windows; of a module of one's own, examples (n, ...).
        components: names of the weights, none within another.
        readout: what is read.
        position: where it is read.
        targets: (n,) classes of the target readouts.
        class_slice: classes that the readout sees.
        normalization: of the kernel.
        each_component: whether every component's kernel was normalized before it was added.
    """

    tokens: Shaped[Tensor, "n ..."]
    components: tuple[str, ...]
    readout: ReadoutLike
    position: Position = -1
    targets: Targets = None
    class_slice: slice | None = None
    normalization: str = "plain"
    each_component: bool = False
    # a weak reference
    _model: Callable[[], nn.Module | None] | None = field(default=None, repr=False)

    def of_model(self, model: nn.Module) -> Origin:
        """The same, with the model; its weights are not kept alive by it."""
        return replace(self, _model=weakref.ref(model))

    def normalized(self, components: tuple[str, ...], normalization: str) -> Origin:
        """The same of some of the components, each normalized before it is added."""
        return replace(
            self, components=components, normalization=normalization, each_component=True
        )

    @property
    def has_model(self) -> bool:
        """Whether the model is still there."""
        return self._model is not None and self._model() is not None

    def find_model(self, model: Any = None) -> Any:
        """The model passed, or the one that the kernel is of.

        Raises:
            UserError: if there is none any more.
        """
        found = model if model is not None or self._model is None else self._model()
        if found is None:
            raise UserError(
                "the model that the directions were made of is not at hand: pass it, model=..."
            )
        return found
