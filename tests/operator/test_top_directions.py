"""One call from a model to eigendirections: what it does beside, and what it does not."""

import warnings

import pytest

import tl_entk
from tests.models import HAS_HOOKED, build, tokens
from tl_entk.operator.operator import KernelOperator

WEIGHT = "blocks.0.mlp.W_out"


def test_nothing_is_measured_that_nobody_asked_for(monkeypatch):
    def refuse(*_):
        raise AssertionError("measured")

    monkeypatch.setattr(KernelOperator, "_measure", refuse)
    model = build("native:plain")
    eigen = tl_entk.top_eigendirections(model, tokens(8), WEIGHT, 3)
    assert bool(eigen.converged.all())
    assert "estimate" not in eigen.provenance
    with pytest.raises(AssertionError, match="measured"):
        tl_entk.top_eigendirections(model, tokens(8), WEIGHT, 3, progress=True)


@pytest.mark.parametrize("component", [WEIGHT, "unembed.W_U"])
def test_the_estimate_is_of_the_run_that_follows(component):
    model = build("native:plain")
    eigen = tl_entk.top_eigendirections(model, tokens(8), component, 3, progress=True)
    assert eigen.provenance["estimate"]["block_size"] == eigen.provenance["block_size"]


def test_where_no_checkpoint_can_be_written_the_model_is_not_run(tmp_path, monkeypatch):
    def run(*_args, **_options):
        raise AssertionError

    monkeypatch.setattr("tl_entk.operator.top_directions.kernel_operator", run)
    with pytest.raises(IsADirectoryError, match=f"cannot write {tmp_path} .*: move away"):
        tl_entk.top_eigendirections(build("native:plain"), tokens(8), WEIGHT, resume=tmp_path)


@pytest.mark.skipif(not HAS_HOOKED, reason="the cap is this HookedTransformer's")
def test_warnings_point_at_the_call():
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        tl_entk.top_eigendirections(build("hooked:gemma3"), tokens(8), WEIGHT, 3)
    capped = [one for one in found if "caps or scales" in str(one.message)]
    assert [one.filename for one in capped] == [__file__]
