"""Vectors of a written set move the final hidden vector as the directions do."""

import json

import pytest
import torch

import tl_entk
from tests.models import HAS_HOOKED, build, tokens
from tl_entk.language.direction_tokens import final_directions
from tl_entk.language.vector_set import save_vector_set
from tl_entk.model.adapters import adapt_transformer

# norms that center or not, with a bias or not, with 1 added to the weight, folded away, and none
MODELS = ["native:layer_norm", "hf:qwen2", "hf:gemma3"]
MODELS += ["hooked:gpt2", "hooked:shortformer"] if HAS_HOOKED else []

pytestmark = [
    pytest.mark.filterwarnings("ignore:the weights look processed"),
    pytest.mark.filterwarnings("ignore:the model caps or scales"),
]


def final_hidden(model, batch, hooks=()):
    found = []
    tap = adapt_transformer(model).final_hidden
    handle = tap.module.register_forward_pre_hook(lambda _, args: found.append(args[0].detach()))
    with torch.no_grad():
        model.run_with_hooks(batch, fwd_hooks=list(hooks))
    handle.remove()
    return found[0][:, -1].double()


@pytest.mark.parametrize("name", MODELS)
def test_a_vector_moves_the_final_hidden_vector_along_the_direction(name, tmp_path):
    model, batch = build(name), tokens(5)
    with torch.no_grad():
        for part in ("w", "b"):
            if (site := adapt_transformer(model).by_name.get(f"ln_final.{part}")) is not None:
                site.parameter.add_(torch.linspace(-0.3, 0.8, site.parameter.numel()))
    eigen = tl_entk.top_eigendirections(model, batch, "blocks.0.mlp.W_out", 3, tol=1e-8)
    path = save_vector_set(tmp_path / "set.json", model, eigen, prepend_bos=True, dataset="mine")
    found = json.loads(path.read_text(encoding="utf-8"))
    config, vectors = found["config"], torch.tensor(found["vectors"], dtype=torch.float64)
    assert vectors.shape == (config["d_vectors"], config["d_in"]) == (3, model.cfg.d_model)
    assert config["prepend_bos"]
    assert config["dataset_path"] == "mine"
    assert config["vector_names"][2] == "blocks.0.mlp.W_out, direction 2"
    # norms of Hugging Face compute in float32
    before, step = final_hidden(model, batch), 1e-2
    weight, bias = norm_of(name, model)
    for i, vector in enumerate(vectors):
        there, back = (
            final_hidden(
                model,
                batch,
                [(config["hook_name"], lambda x, hook, v=vector, s=s: x + s * v.to(x))],
            )
            for s in (step, -step)
        )
        change = there - back
        for n in range(len(batch)):
            # a norm h = w x + b takes away what lies along x, and with the mean what all share
            parts = [final_directions(model, eigen)[:, i], (before[n] - bias), weight]
            basis = torch.stack(parts, 1)
            found = torch.linalg.lstsq(basis, change[n, :, None]).solution
            left = change[n] - (basis @ found)[:, 0]
            assert float(left.norm()) < 1e-3 * float(change[n].norm())
            assert float(found[0]) > 0


def norm_of(name, model):
    """What the final norm multiplies by, and adds."""
    sites = adapt_transformer(model).by_name
    if "ln_final.w" not in sites:
        return torch.ones(model.cfg.d_model).double(), torch.zeros(model.cfg.d_model).double()
    weight = sites["ln_final.w"].parameter.detach().double() + (name == "hf:gemma3")
    bias = sites["ln_final.b"].parameter if "ln_final.b" in sites else torch.zeros(len(weight))
    return weight, bias.detach().double()


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
