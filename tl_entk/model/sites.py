"""Sites: the weights of a model, each with where its input and its output gradient are read.

A component is named as TransformerLens names the weight ("blocks.0.attn.W_Q"); a head's slice
has the head in brackets ("blocks.0.attn.W_Q[2]"). Where one parameter is used in several places,
each role is a site and the parameter as a whole is a component too: TIED for an embedding that is
the unembedding as well, "W" with its roles "W@encode" and "W@decode" in a module of one's own.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from feature_sets.errors import UserError
from tl_entk.tools.values import read_names

Components = str | Sequence[str] | Callable[[str], bool] | None

EMBEDDING = "embed.W_E"
UNEMBEDDING = "unembed.W_U"
TIED = "tied_embedding"
ROLE = "@"

Kind = Literal["linear", "embedding", "position", "scale", "bias"]


@dataclass(frozen=True)
class Tap:
    """A place in the forward pass: the input or the output of a module.

    ``argument`` names the input where a module has several ("query_input"); by default the
    first one is read.
    """

    module: nn.Module
    side: Literal["input", "output"]
    argument: str | None = None


@dataclass(frozen=True)
class Cut:
    """A place from which on only the position that is read matters.

    Where a later module needs all positions again, the one stands for all from ``until`` on.
    """

    at: Tap
    until: Tap | None = None


@dataclass(frozen=True)
class Heads:
    """How a weight splits into heads: along its output (W_Q, W_K, W_V) or its input (W_O)."""

    along: Literal["input", "output"]
    count: int


@dataclass(frozen=True, eq=False)
class Site:
    """One use of one weight.

    ``kind`` says how the output y depends on the weight: ``linear`` y = x W, ``embedding``
    y = W[token], ``position`` y_t = W[t], ``scale`` y = w * x, ``bias`` y = ... + b. ``output``
    is where dF/dy is read, ``input`` where x is; ``d_out`` and ``d_in`` are their widths. A role
    that is ``transposed`` has the weight the other way round than its fellow roles.
    """

    name: str
    kind: Kind
    parameter: nn.Parameter
    output: Tap
    d_out: int
    input: Tap | None = None
    d_in: int = 0
    heads: Heads | None = None
    transposed: bool = False

    @property
    def head_names(self) -> tuple[str, ...]:
        """Names of the head slices, in head order; empty for a weight without heads."""
        return tuple(f"{self.name}[{h}]" for h in range(self.heads.count if self.heads else 0))


def parents(name: str) -> tuple[str, ...]:
    """The components that contain this one: a head slice's weight, a role's tied parameter.

    Example:
        >>> parents("blocks.0.attn.W_Q[2]")
        ('blocks.0.attn.W_Q',)
    """
    if name.endswith("]"):
        return (name[: name.rindex("[")],)
    if ROLE in name:
        return (name[: name.index(ROLE)],)
    return (TIED,) if name in (EMBEDDING, UNEMBEDDING) else ()


def partition(names: Iterable[str]) -> list[str]:
    """The names that no other of the names contains, so that nothing is counted twice.

    Example:
        >>> partition(["W_Q", "W_Q[0]", "W_K[0]", "W_K[1]"])
        ['W_Q', 'W_K[0]', 'W_K[1]']
    """
    names = list(names)
    present = set(names)
    return [name for name in names if not present.intersection(parents(name))]


def glob_match(name: str, pattern: str) -> bool:
    """Whether a name matches a glob in which only * and ? are special (brackets name heads).

    Example:
        >>> glob_match("blocks.0.attn.W_V[1]", "blocks.*.attn.W_V[*]")
        True
    """
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(expression, name) is not None


def match_names(names: Sequence[str], patterns: str | Sequence[str]) -> list[str]:
    """The names that match any of the patterns, in the order of ``names``.

    Raises:
        UserError: if a pattern matches nothing; the message has the nearest names.
    """
    several = [patterns] if isinstance(patterns, str) else patterns
    patterns = read_names("components", several, unique=False, some=False)
    if not patterns:
        raise UserError("no component asked for: pass names or globs, or None for every weight.")
    chosen: set[str] = set()
    for pattern in patterns:
        found = [name for name in names if glob_match(name, pattern)]
        if not found:
            by_lower = {name.lower(): name for name in reversed(names)}
            close = difflib.get_close_matches(pattern.lower(), list(by_lower), n=4, cutoff=0.3)
            near = [by_lower[name] for name in close]
            raise UserError(
                f"no component matches {pattern!r}; the nearest are {near or list(names)[:4]}. "
                "tl_entk.list_components(model) lists them all."
            )
        chosen.update(found)
    return [name for name in names if name in chosen]


def select(names: Sequence[str], default: Sequence[str], components: Components) -> list[str]:
    """Resolve what the user asked for into component names.

    Args:
        names: every component of the model.
        default: what None stands for.
        components: None, a name or glob, a list of those, or a predicate on names.

    Raises:
        UserError: if nothing is selected, with the fix.
    """
    if components is None:
        if not default:
            raise UserError(
                "no weight of the model requires grad: call model.requires_grad_(True), or "
                "name the components."
            )
        return list(default)
    if callable(components):
        chosen = [name for name in names if components(name)]
        if not chosen:
            raise UserError(
                f"the components function chose none of the {len(names)} names, "
                f"for example {list(names)[:3]}; tl_entk.list_components(model) lists them all."
            )
        return chosen
    return match_names(names, components)
