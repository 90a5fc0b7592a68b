"""Directions of all logits as a file that SAEDashboard and Neuronpedia read: a vector set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from feature_sets.errors import UserError
from tl_entk.directions.eigen import EigenDirections
from tl_entk.language.direction_tokens import final_directions
from tl_entk.model.adapters import adapt_transformer
from tl_entk.operator.whitening import whitening
from tl_entk.tools.files import write_json

HOOK = "unembed.hook_in"


def save_vector_set(
    path: str | Path,
    model: Any,
    eigen: EigenDirections | Mapping[str, EigenDirections],
    *,
    prepend_bos: bool = False,
    dataset: str = "",
) -> Path:
    """Write directions as vectors of the final hidden vector, in SAEDashboard's format.

    A vector of the set is where a step along the direction moves the final hidden vector of
    high-scoring examples; those of low-scoring ones go the other way. Added at the hook
    ``unembed.hook_in`` it steers; through the unembedding it tells the tokens. It does not detect
    the direction: scores come from gradients.

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
        >>> import tempfile
        >>> from tl_entk.experiments import ModularSettings, build_model, modular_data
        >>> from tl_entk.operator.top_directions import top_eigendirections
        >>> settings = ModularSettings(p=5)
        >>> model, data = build_model(settings), modular_data(settings)
        >>> eigen = top_eigendirections(model, data.tokens, "blocks.0.mlp.W_out", 2)
        >>> path = save_vector_set(Path(tempfile.mkdtemp()) / "set.json", model, eigen)
        >>> import json
        >>> found = json.loads(path.read_text())
        >>> found["config"]["vector_names"]
        ['blocks.0.mlp.W_out, direction 0', 'blocks.0.mlp.W_out, direction 1']
    """
    adapter = adapt_transformer(model)
    several = eigen
    if isinstance(eigen, EigenDirections):
        several = {str(eigen.provenance.get("component", "eNTK")): eigen}
    white = whitening(adapter.unembedding)
    names: list[str] = []
    vectors: list[list[float]] = []
    for name, one in several.items():  # type: ignore[union-attr]
        columns = final_directions(model, one, white).float().T.tolist()
        names += [f"{name}, direction {i}" for i in range(len(columns))]
        vectors += columns
    if not vectors:
        raise UserError("no directions to write: pass one or more.")
    path = Path(path)
    config = {
        "d_in": adapter.d_model,
        "d_vectors": len(vectors),
        "vector_names": names,
        "model_name": adapter.model_name,
        "hook_name": HOOK,
        "hook_layer": adapter.n_layers - 1,
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
