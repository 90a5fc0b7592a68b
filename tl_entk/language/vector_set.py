"""Directions of all logits as vectors of the residual stream, in SAEDashboard's file format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from feature_sets.errors import UserError
from tl_entk.directions.eigen import EigenDirections
from tl_entk.directions.token_scores import unit_columns
from tl_entk.language.direction_tokens import final_directions
from tl_entk.model.adapters import TransformerAdapter, adapt_transformer
from tl_entk.model.capture import reading
from tl_entk.operator.whitening import whitening
from tl_entk.tools.files import write_json
from tl_entk.tools.values import check_kind

# windows and tokens that the final norm is looked at on
_WINDOWS, _TOKENS = 8, 16


def save_vector_set(
    path: str | Path,
    model: Any,
    eigen: EigenDirections | Mapping[str, EigenDirections],
    *,
    prepend_bos: bool = False,
    dataset: str = "",
) -> Path:
    """Write directions as vectors of the last residual stream, as SAEDashboard's VectorSet reads.

    A vector is where the residual stream after the last block moves with a step along the
    direction, in high-scoring examples (in low-scoring ones the other way), up to its length and
    what the final norm takes away. Added there it steers; through the norm's weight and the
    unembedding it tells the tokens. It does not detect the direction: scores come from gradients.

    Args:
        path: of the file, ending in ``.json``.
        model: the one that the directions are of.
        eigen: directions of :func:`top_eigendirections` or :func:`all_eigendirections`, or several
            by name.
        prepend_bos: whether the windows begin with the model's <bos>.
        dataset: where their text comes from, for those who load the set.

    Returns:
        The path.

    Raises:
        UserError: for directions of a readout of one number, which have no such vector, or for
            none.
        OSError: if the file cannot be written.

    Source: the format is that of sae_dashboard.neuronpedia.vector_set.VectorSet.load.

    Example:
        >>> import json, tempfile
        >>> from tl_entk.experiments import ModularSettings, build_model, modular_data
        >>> from tl_entk.operator.top_directions import top_eigendirections
        >>> settings = ModularSettings(p=5)
        >>> model, data = build_model(settings), modular_data(settings)
        >>> eigen = top_eigendirections(model, data.tokens, "blocks.0.mlp.W_out", 2)
        >>> path = save_vector_set(Path(tempfile.mkdtemp()) / "set.json", model, eigen)
        >>> found = json.loads(path.read_text())["config"]
        >>> found["hook_name"], found["vector_names"][0]
        ('blocks.0.hook_resid_post', 'blocks.0.mlp.W_out, direction 0')
    """
    advice = "EigenDirections, or several by name"
    check_kind("eigen", eigen, (EigenDirections, Mapping), advice)
    adapter = adapt_transformer(model)
    several: Mapping[str, EigenDirections] = (
        {str(eigen.provenance.get("component", "eNTK")): eigen}
        if isinstance(eigen, EigenDirections)
        else eigen
    )
    white, scale = whitening(adapter.unembedding), _final_scale(adapter)
    names: list[str] = []
    vectors: list[list[float]] = []
    for name, one in several.items():
        check_kind(f"eigen of {name!r}", one, EigenDirections, "EigenDirections")
        columns = unit_columns(final_directions(model, one, white) / scale[:, None])
        names += [f"{name}, direction {i}" for i in range(columns.shape[1])]
        vectors += columns.float().T.tolist()
    if not vectors:
        raise UserError("no directions to write: pass one or more.")
    path, last = Path(path), adapter.n_layers - 1
    config = {
        "d_in": adapter.d_model,
        "d_vectors": len(vectors),
        "vector_names": names,
        "model_name": adapter.model_name,
        "hook_name": f"blocks.{last}.hook_resid_post",
        "hook_layer": last,
        "hook_head_index": None,
        "prepend_bos": prepend_bos,
        "context_size": adapter.context,
        "dataset_path": dataset,
        "dtype": "float32",
        "device": "cpu",
        "model_from_pretrained_kwargs": {},
    }
    write_json(path, {"vectors": vectors, "config": config})
    return path


def _final_scale(adapter: TransformerAdapter) -> Float[Tensor, " d_model"]:
    """What the final norm multiplies each dimension by, from its inputs and outputs.

    A parameter alone does not say it: Gemma's norms add 1 to theirs.
    """
    site = adapter.by_name.get("ln_final.w")
    if site is None:
        return torch.ones(adapter.d_model, dtype=torch.float64)
    assert site.input is not None
    generator = torch.Generator().manual_seed(0)
    shape = (_WINDOWS, min(_TOKENS, adapter.context))
    tokens = torch.randint(adapter.vocabulary, shape, generator=generator).to(adapter.device)
    last = torch.full((len(tokens),), shape[1] - 1, device=adapter.device)
    with torch.no_grad(), reading([site], adapter.final_hidden, last, len(tokens)) as seen:
        adapter.outputs(tokens)
    x, y = (
        value.detach().cpu().double().flatten(0, -2)
        for value in (seen.inputs[site.input][0], seen.outputs[site.output][0])
    )
    x, y = x - x.mean(0), y - y.mean(0)
    scale = (x * y).sum(0) / x.square().sum(0)
    # what the norm takes away altogether cannot be moved either
    return torch.where(scale.abs() > 0, scale, torch.inf)
