"""The components of a model by name, with their shapes."""

import math

import pytest
from typer.testing import CliRunner

import tl_entk
from tests.models import build
from tl_entk.commands.list_components import component_shapes
from tl_entk.commands.main import app
from tl_entk.model.adapters import adapt


def test_every_component_of_the_embedded_model_is_a_line():
    result = CliRunner().invoke(app, ["list-components", "stories", "--model-class", "bridge"])
    assert result.exit_code == 0, result.output
    lines = [line.split(maxsplit=1) for line in result.stdout.splitlines()]
    model = tl_entk.load_language_model("stories", model_class="bridge").model
    assert [name for name, _ in lines] == tl_entk.list_components(model)
    shapes = dict(lines)
    assert shapes["blocks.0.attn.W_Q"] == "160 x 160"
    assert shapes["blocks.0.attn.W_Q[0]"] == "160 x 40"
    assert shapes["tied_embedding"] == shapes["embed.W_E"] == "2048 x 160"


@pytest.mark.parametrize("name", ["native:layer_norm", "hf:gemma3"])
def test_heads_are_parts_and_sizes_add_up(name):
    adapter = adapt(build(name))
    shapes = component_shapes(adapter)
    assert list(shapes) == adapter.component_names
    size = {name: math.prod(shape) for name, shape in shapes.items()}
    for site in adapter.sites:
        if site.head_names:
            assert sum(size[head] for head in site.head_names) == size[site.name]
        if site.heads is None:
            assert size[site.name] <= site.parameter.numel()


def test_an_unknown_model_is_refused():
    result = CliRunner().invoke(app, ["list-components", "./nowhere"])
    assert isinstance(result.exception, OSError)
