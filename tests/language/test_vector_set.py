"""Vectors of a written set steer the model along the direction's logits, at the hook it names."""

import json

import pytest
import torch

import tl_entk
from tests.models import HAS_HOOKED, build, tokens
from tl_entk.language.direction_tokens import logit_directions
from tl_entk.language.vector_set import save_vector_set

# a norm with a weight after its hook, one without, and one with a bias
MODELS = ["native:layer_norm", "hf:qwen2", *(["hooked:gpt2"] if HAS_HOOKED else [])]

pytestmark = pytest.mark.filterwarnings("ignore:the weights look processed")


@pytest.mark.parametrize("name", MODELS)
def test_a_vector_added_at_the_hook_moves_the_logits_along_the_direction(name, tmp_path):
    model, batch = build(name), tokens(5)
    eigen = tl_entk.top_eigendirections(model, batch, "blocks.0.mlp.W_out", 3, tol=1e-8)
    path = save_vector_set(tmp_path / "set.json", model, eigen, prepend_bos=True, dataset="mine")
    found = json.loads(path.read_text(encoding="utf-8"))
    config, vectors = found["config"], torch.tensor(found["vectors"], dtype=torch.float64)
    assert vectors.shape == (config["d_vectors"], config["d_in"]) == (3, model.cfg.d_model)
    assert config["prepend_bos"]
    assert config["dataset_path"] == "mine"
    assert config["vector_names"][2] == "blocks.0.mlp.W_out, direction 2"
    towards = logit_directions(model, eigen)
    with torch.no_grad():
        before = model(batch)
        for i, vector in enumerate(vectors):

            def steer(values, hook, vector=vector):
                return values + vector.to(values)

            after = model.run_with_hooks(batch, fwd_hooks=[(config["hook_name"], steer)])
            change = (after - before)[0, -1].double()
            torch.testing.assert_close(change / change.norm(), towards[:, i], rtol=0, atol=1e-5)


def test_several_by_name(tmp_path):
    model, batch = build("native:layer_norm"), tokens(5)
    found = tl_entk.all_eigendirections(model, batch, ["blocks.*.mlp.W_out"], 2, outputs=4)
    path = save_vector_set(tmp_path / "set.json", model, found)
    names = json.loads(path.read_text(encoding="utf-8"))["config"]["vector_names"]
    assert len(names) == 2 * len(found)
    assert names[-1] == f"{list(found)[-1]}, direction 1"


def test_what_has_no_vectors_is_refused(tmp_path):
    model, batch = build("native:layer_norm"), tokens(5)
    blocks = tl_entk.kernel_blocks(model, batch, "logsumexp", "blocks.0.mlp.W_out")
    with pytest.raises(tl_entk.UserError, match="no number for every dimension"):
        save_vector_set(tmp_path / "set.json", model, tl_entk.eigendecompose(blocks.total(), 2))
    with pytest.raises(tl_entk.UserError, match="no directions to write"):
        save_vector_set(tmp_path / "set.json", model, {})
    assert not (tmp_path / "set.json").exists()
