"""The ``tl-entk list-components`` command."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tl_entk.commands.call import Call
from tl_entk.commands.options import ModelClassName, as_command


@as_command()
def list_components(
    _: Call[None],
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="stories (embedded), a local folder or file, or a hub name."
        ),
    ],
    *,
    model_class: ModelClassName = None,
) -> None:
    """Names and shapes of a model's weights, biases, norms and heads, a line each.

    The names are what --weight and tl_entk.kernel_blocks take.
    """
    from transformers.utils.logging import disable_progress_bar

    from tl_entk.language.loading import load_language_model
    from tl_entk.model.adapters import adapt

    disable_progress_bar()
    shapes = component_shapes(adapt(load_language_model(model, model_class=model_class).model))
    width = max(map(len, shapes))
    for name, shape in shapes.items():
        # the answer itself, for other programs too: no quiet, no wrapping
        typer.echo(f"{name:{width}}  {' x '.join(map(str, shape))}")


def component_shapes(adapter: Any) -> dict[str, tuple[int, ...]]:
    """Component to its shape, inputs first, in the order of ``tl_entk.list_components``.

    Args:
        adapter: of a model.

    Example:
        >>> from tl_entk.experiments import ModularSettings, build_model
        >>> from tl_entk.model.adapters import adapt
        >>> shapes = component_shapes(adapt(build_model(ModularSettings(p=5))))
        >>> shapes["blocks.0.attn.W_Q"], shapes["blocks.0.attn.W_Q[0]"], shapes["embed.W_E"]
        ((64, 64), (64, 16), (6, 64))
    """
    found = {whole: _shape(roles[0]) for whole, roles in adapter.shared.items()}
    for site in adapter.sites:
        found[site.name] = _shape(site)
        for head in site.head_names:
            found[head] = _head_shape(site, found[site.name])
    return found


def _shape(site: Any) -> tuple[int, ...]:
    """A weight as TransformerLens has it, its heads side by side."""
    if site.kind == "linear":
        return (site.d_in, site.d_out)
    if site.kind in ("embedding", "position"):
        return (site.parameter.numel() // site.d_out, site.d_out)
    return (site.d_out,)


def _head_shape(site: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    """What one head has of a weight or bias."""
    *inputs, columns = shape
    count = site.heads.count
    if site.heads.along == "output":
        return (*inputs, columns // count)
    return (inputs[0] // count, columns)
