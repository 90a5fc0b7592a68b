"""What look-up tables return: an embedding its tokens' rows, positions theirs in order."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from feature_sets.errors import UserError
from tl_entk.model.capture import Reading, reading
from tl_entk.model.sites import Site
from tl_entk.model.task import Task

# the row of the first position (OPT leaves two rows of its table out)
_FIRST_ROWS = (0, 1, 2)
_ROWS = 1024


def embedding_scale(site: Site, tokens: Tensor, seen: Reading) -> float:
    """The constant c of an embedding that returns c * W[token] (Gemma's bridge); else 1.

    Raises:
        RuntimeError: if the output is no multiple of the embedding's rows.
    """
    if site.kind != "embedding":
        return 1.0
    output = seen.outputs[site.output][0].detach().cpu().double()
    rows = site.parameter.detach()[tokens].cpu().double()
    size = float(rows.square().sum())
    scale = float((output * rows).sum()) / size if size > 0 else 1.0
    if not torch.allclose(output, scale * rows, rtol=1e-2, atol=1e-2 * float(rows.abs().max())):
        raise RuntimeError(
            f"the output of {site.name} is no multiple of the tokens' rows: a hook or patch "
            "changes it. Remove it, or leave the component out."
        )
    return scale


def first_row(site: Site, output: Float[Tensor, "*n t d"]) -> int | None:
    """The row of a table of positions that the first position reads; None where the rest differs.

    Args:
        site: of the positions.
        output: what they returned, for every example or once for all.
    """
    table, length = site.parameter.detach(), output.shape[-2]
    for row in _FIRST_ROWS:
        rows = table[row : row + length]
        if len(rows) == length and bool((output == rows.to(output)).all()):
            return row
    return None


def _read_positions(task: Task, site: Site) -> Float[Tensor, "*n t d"] | None:
    """What a table of positions returns."""
    with (
        torch.no_grad(),
        reading([], None, task.positions, len(task), end=site.output) as seen,
    ):
        task.adapter.outputs(task.inputs)
    return seen.end


def find_first_row(task: Task, site: Site) -> int:
    """The row of a table of positions that the first position of a window reads.

    Args:
        task: windows that :func:`check_positions` has looked at.
        site: of the positions.
    """
    output = _read_positions(task.take(torch.arange(1)), site)
    return (first_row(site, output) or 0) if output is not None else 0


def check_positions(task: Task, site: Site) -> None:
    """Refuse windows whose positions are not counted from their first token.

    A host that finds a padding token at the start of a window shifts the positions of what
    follows, and the rows of W_pos are then not those of the tokens.

    Args:
        task: all windows, of which only the positions are computed.
        site: of the positions.

    Raises:
        UserError: names the first such window.
    """
    for start in range(0, len(task), _ROWS):
        rows = slice(start, start + _ROWS)
        output = _read_positions(task.take(torch.arange(len(task.inputs))[rows]), site)
        if output is None or first_row(site, output) is not None:
            continue
        per_example = output if output.ndim == 3 else output[None]
        wrong = [first_row(site, one) is None for one in per_example]
        row = start + (wrong.index(True) if any(wrong) else 0)
        raise UserError(
            f"the positions of example {row} are not counted from its first token: it begins with "
            "the token that the tokenizer pads with on the left, so the model shifts them. Set "
            f"model.tokenizer.padding_side = 'right', leave {site.name} out of the components, or "
            "pass windows that begin with another token."
        )
