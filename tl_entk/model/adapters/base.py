"""What the rest of tl_entk needs to know of a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, NoReturn

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from feature_sets.errors import UserError
from tl_entk.model.sites import EMBEDDING, UNEMBEDDING, Site, Tap


class Inputs(NamedTuple):
    """Examples that a model was found to take.

    Attributes:
        examples: (n, ...) on the model's device.
        positions: of an example that may be read.
        outputs: numbers that the model has for each of them (logits).
    """

    examples: Shaped[Tensor, "n ..."]
    positions: int
    outputs: int


@dataclass(frozen=True)
class ModelAdapter(ABC):
    """A model seen as sites: what every model has.

    Attributes:
        model: the model itself.
        model_class: its class, for provenance.
        sites: every use of every weight.
        unsupported: parameters that are no site, by name.
        processed: why the weights look processed (folded or centered), or None.
        final_hidden: where the final hidden vector enters the unembedding; None where a model
            has none.
    """

    model: nn.Module
    model_class: str
    sites: tuple[Site, ...]
    unsupported: tuple[str, ...] = ()
    processed: str | None = None
    final_hidden: Tap | None = None

    # what each kind of model answers in its own way

    @property
    @abstractmethod
    def shared(self) -> dict[str, tuple[Site, ...]]:
        """Parameters with several roles: name of the whole to the roles' sites."""

    @property
    @abstractmethod
    def model_name(self) -> str:
        """What the model is called, for provenance."""

    @property
    @abstractmethod
    def may_hide_uses(self) -> bool:
        """Whether a weight might be used where no site is, so that gradients need a check."""

    @abstractmethod
    def check_inputs(self, inputs: Any) -> Inputs:
        """The examples on the model's device, checked.

        Raises:
            UserError: for what the model could not take.
        """

    @abstractmethod
    def check_components(self, names: Sequence[str], examples: Shaped[Tensor, "n ..."]) -> None:
        """Refuse components that have no kernel on these examples.

        Raises:
            UserError: names the component.
        """

    @abstractmethod
    def is_training(self, module: nn.Module) -> bool:
        """Whether a module's train mode changes what the model computes."""

    @abstractmethod
    def outputs(self, examples: Shaped[Tensor, "n ..."]) -> Float[Tensor, "n read c"]:
        """The model's outputs (logits), as its own call gives them, position by position."""

    @abstractmethod
    def example_floats(self, positions: int) -> int:
        """About how many numbers autograd keeps for an example of so many positions."""

    # what follows from the sites

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.sites[0].parameter.device

    @property
    def dtype(self) -> torch.dtype:
        """The weights' number format."""
        return self.sites[0].parameter.dtype

    @cached_property
    def by_name(self) -> dict[str, Site]:
        """The sites under their component names."""
        return {site.name: site for site in self.sites}

    def wholes(self, site: Site) -> list[str]:
        """The shared parameter that this site is a role of, if it is one."""
        return [
            whole
            for whole, roles in self.shared.items()
            if any(role.name == site.name for role in roles)
        ]

    def components_needing(self, site: Site) -> set[str]:
        """The components whose kernels need this site's factors."""
        return {site.name, *site.head_names, *self.wholes(site)}

    @property
    def component_names(self) -> list[str]:
        """Whole weights, each followed by its heads; those with several roles first."""
        names = list(self.shared)
        for site in self.sites:
            names += [site.name, *site.head_names]
        return names

    @property
    def default_components(self) -> list[str]:
        """Every whole weight that requires grad (and shared parameters beside their roles)."""
        names = [site.name for site in self.sites if site.parameter.requires_grad]
        whole = [name for name, roles in self.shared.items() if roles[0].name in names]
        return [*whole, *names]


@contextmanager
def run_eagerly(model: nn.Module) -> Iterator[None]:
    """Inside, modules that were compiled run as they were written: a compiled one sees no hooks."""
    modules = list(nn.Module.modules(model))
    if any(m._compiled_call_impl or type(m).__name__ == "OptimizedModule" for m in modules):
        with torch.compiler.set_stance("force_eager"):
            yield
    else:
        yield


def refuse_mixed_rows(name: str, again: bool) -> NoReturn:
    """Refuse a model that returned two different things for one example.

    Args:
        name: of the model.
        again: whether it returns the same for the same batch, at least.

    Raises:
        UserError: says why that may be.
    """
    if again:
        raise UserError(
            f"{name} mixes examples: what it returns for one depends on the others in the batch, "
            "by a batch norm, a hook or a patch. Each example needs a gradient of its own."
        )
    raise UserError(
        f"{name} is not deterministic: two passes over the same examples differ. Switch off what "
        "is random in it (a dropout that eval() leaves on, noise, random routing)."
    )


def depends_on_mode(module: nn.Module) -> bool:
    """Whether a module computes something else in train mode: dropout and batch norms."""
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return True
    return isinstance(module, nn.Dropout) and module.p > 0


def refuse_shared(sites: Sequence[Site]) -> None:
    """Refuse one parameter in two places, whose cross terms separate blocks would leave out.

    Embedding and unembedding may share theirs: TIED is its kernel with the cross terms.

    Raises:
        UserError: names the two.
    """
    seen: dict[int, str] = {}
    for site in sites:
        other = seen.setdefault(id(site.parameter), site.name)
        if other != site.name and {other, site.name} != {EMBEDDING, UNEMBEDDING}:
            raise UserError(
                f"{other} and {site.name} are one parameter: shared layers are not supported. "
                "Give each its own copy (torch.nn.Parameter(weight.detach().clone()))."
            )
