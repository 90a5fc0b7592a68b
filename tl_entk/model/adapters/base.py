"""What the rest of tl_entk needs to know of a TransformerLens model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from feature_sets.errors import UserError
from tl_entk.model.sites import EMBEDDING, TIED, UNEMBEDDING, Cut, Site, Tap


@dataclass(frozen=True)
class ModelAdapter:
    """A TransformerLens model of either class, seen as sites.

    Attributes:
        model: the model itself.
        model_class: its class, for provenance.
        sites: every use of every weight.
        unembed_input: where the final hidden vector (after ln_final) enters the unembedding; None
            where there is none.
        cuts: places of the last block and after, from which on only the read position may matter.
        unsupported: parameters that are no site, by name.
        processed: why the weights look processed (folded or centered), or None.
    """

    model: nn.Module
    model_class: str
    sites: tuple[Site, ...]
    unembed_input: Tap | None
    cuts: tuple[Cut, ...] = ()
    unsupported: tuple[str, ...] = ()
    processed: str | None = None

    @property
    def cfg(self) -> Any:
        """The TransformerLens configuration."""
        return self.model.cfg

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

    @property
    def tied(self) -> bool:
        """Whether embedding and unembedding are one parameter."""
        roles = [self.by_name.get(name) for name in (EMBEDDING, UNEMBEDDING)]
        return all(roles) and roles[0].parameter is roles[1].parameter  # type: ignore[union-attr]

    @property
    def shared(self) -> dict[str, tuple[Site, ...]]:
        """Parameters with several roles: name of the whole to the roles' sites."""
        if not self.tied:
            return {}
        return {TIED: (self.by_name[EMBEDDING], self.by_name[UNEMBEDDING])}

    def wholes(self, site: Site) -> list[str]:
        """The shared parameter that this site is a role of, if it is one."""
        return [
            whole
            for whole, roles in self.shared.items()
            if any(role.name == site.name for role in roles)
        ]

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

    @property
    def model_name(self) -> str:
        """What the model is called, for provenance."""
        return getattr(self.cfg, "model_name", None) or "custom"

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return self.cfg.n_layers

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.cfg.d_model

    @property
    def n_heads(self) -> int:
        """Attention heads of a block."""
        return self.cfg.n_heads

    @property
    def context(self) -> int:
        """The most tokens that the model reads."""
        return self.cfg.n_ctx

    @property
    def vocabulary(self) -> int:
        """Number of tokens."""
        return self.cfg.d_vocab

    @property
    def n_outputs(self) -> int:
        """Number of logits."""
        return self.by_name[UNEMBEDDING].d_out

    @property
    def unembedding(self) -> Float[Tensor, "d_model d_vocab_out"]:
        """W_U."""
        site = self.by_name[UNEMBEDDING]
        weight = site.parameter.detach()
        return weight.T if isinstance(site.output.module, nn.Linear) else weight

    def logits(self, tokens: Int[Tensor, "n t"]) -> Float[Tensor, "n read d_vocab_out"]:
        """The model's logits, as its own call gives them."""
        return self.model(tokens)

    def example_floats(self, n_positions: int) -> int:
        """About how many numbers autograd keeps for one example (for the memory plan)."""
        cfg = self.cfg
        d_mlp = getattr(cfg, "d_mlp", None) or 4 * cfg.d_model
        per_position = 16 * cfg.d_model + 4 * d_mlp + 3 * cfg.n_heads * n_positions
        return n_positions * (cfg.n_layers + 1) * per_position


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
