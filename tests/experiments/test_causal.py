"""The causal checks of a small language run: found on one half, measured on the other."""

from dataclasses import replace

import pytest
import torch

import tl_entk
from tests.experiments.small_language import SMALL
from tl_entk.alignment.splitting import halves
from tl_entk.experiments.language.causal import outcomes, protocol, rivals, setup
from tl_entk.experiments.language.causal import run as run_module
from tl_entk.experiments.language.causal.directions import choose
from tl_entk.experiments.language.causal.result import (
    GRADIENT,
    KERNEL,
    PCA,
    RANDOM_SPAN,
    RANDOM_WEIGHTS,
    SPAN,
    Causal,
)
from tl_entk.experiments.language.judging import FLATTENED
from tl_entk.experiments.language.run import run_language
from tl_entk.experiments.language.settings import windows_name
from tl_entk.model.unchanged import ModelState
from tl_entk.report.language import report
from tl_entk.report.language.causal import causal_section

# steps, odds and kernels are tried on both lines by test_causal_parts and tests/weight_space
pytestmark = pytest.mark.plain


@pytest.fixture(scope="module")
def small():
    """Fewer draws and tries."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rivals, "DRAWS", 1)
        patch.setattr(protocol, "_TRIES", 3)
        yield


@pytest.fixture(scope="module")
def looked(run, small):
    """The flattened kernel's direction for the most frequent label, and the winner's."""
    result, _ = run
    shared, known = setup.set_up(result), {}
    state = ModelState(result.model.model)
    label = shared.labels[0]
    kernels = (FLATTENED, result.judged.winner)
    found = [run_module.look_at(shared, kernel, label, {}, known) for kernel in kernels]
    assert state.difference() == ""
    return result, shared, found


def test_everything_is_found_on_the_train_half(looked):
    result, shared, found = looked
    train, test = halves(result.data.features, seed=result.settings.seed)
    assert shared.train.tolist() == train.tolist()
    tokens, model = result.data.windows.tokens, result.model.model
    one = found[0]
    assert one.components == [f"blocks.{one.layer}.mlp.W_out"]
    # the kernel of the train half alone, whose directions are extended to the test half
    eigen = tl_entk.top_eigendirections(
        model, tokens[train], one.components[0], 5, tol=1e-2, seed=result.settings.seed
    )
    chosen = choose(eigen.scores, shared.label(one.label)[train])
    assert (one.direction, one.train_ap) == (chosen.column, pytest.approx(chosen.train_ap))
    scores = eigen.take([chosen.column]).project(model, tokens[test])[:, 0].double()
    # the label at the high end
    both = torch.stack([chosen.sign * scores, one.scores])
    assert float(torch.corrcoef(both)[0, 1]) > 0.999
    assert one.has_label.tolist() == shared.label(one.label)[test].tolist()
    assert one.new_measured.shape == (7, len(test))
    for direction in found:
        assert float(direction.used.correlation[:2].min()) > 0.99
        assert float(direction.new.correlation[:2].min()) > 0.99


def test_steps_are_measured_on_the_test_half(looked):
    result, shared, found = looked
    for one in found:
        assert {KERNEL, PCA, GRADIENT, RANDOM_WEIGHTS} <= set(one.changes)
        assert {KERNEL, PCA, SPAN, RANDOM_SPAN} <= set(one.removed_loss)
        for changes in one.changes.values():
            assert changes.shape == (1, len(shared.test), len(shared.labels))
    one = found[0]
    # the ceiling raises the label's own log-odds most
    own = {name: float(c[..., one.label_index].mean()) for name, c in one.changes.items()}
    assert max(own, key=own.get) == GRADIENT
    # and what was measured is what the nudged model says
    eigen = tl_entk.top_eigendirections(
        result.model.model, result.data.windows.tokens[shared.train], one.components[0], 5,
        tol=1e-2, seed=result.settings.seed,
    )  # fmt: skip
    direction = eigen.weight_direction(one.direction)
    with tl_entk.nudge(result.model.model, direction, one.sizes[KERNEL][0]):
        now = shared.meters.test.measure()
    change = now.log_odds - shared.meters.before.log_odds
    assert torch.allclose(change, one.changes[KERNEL][0], atol=2e-2)


def test_what_was_found_is_kept_and_shown(looked, small, tmp_path, monkeypatch):
    result, _, found = looked

    def look(_, kernel, *others):
        return replace(found[kernel != FLATTENED], kernel=kernel)

    monkeypatch.setattr(run_module, "look_at", look)
    monkeypatch.setattr(run_module, "MOST", 1)
    first = run_module.run_causal(result, tmp_path)
    assert len(first.directions) == len(result.judged.shown_kernels)

    def refuse(*_):
        raise AssertionError("computed again")

    monkeypatch.setattr(run_module, "look_at", refuse)
    again = run_module.run_causal(result, tmp_path)
    for one, other in zip(first.directions, again.directions, strict=True):
        assert one.sizes == other.sizes
        assert torch.equal(one.changes[PCA], other.changes[PCA])
    # of a kernel solved otherwise, and in place of a damaged file
    other = replace(result, settings=replace(result.settings, exact=False))
    with pytest.raises(AssertionError, match="computed again"):
        run_module.run_causal(other, tmp_path)
    for file in tmp_path.iterdir():
        file.write_bytes(b"damaged")
    with pytest.raises(AssertionError, match="computed again"):
        run_module.run_causal(result, tmp_path)
    section = causal_section(replace(first, left_out={"eNTK, NOUN": "no reason"}))
    names = [getattr(part, "name", "") or part.title for part in section.parts]
    assert len(names) == len(set(names))
    assert any(name.startswith("causal_specificity") for name in names)
    for part in section.parts:
        if hasattr(part, "figure"):
            assert part.spec
    assert "windows that the kernel has not" in section.text


def test_a_kernel_without_counterparts_is_left_out_by_name(looked, monkeypatch):
    result, _, _ = looked

    def refuse(*_):
        raise tl_entk.UserError("a row has several gradients")

    monkeypatch.setattr(run_module, "look_at", refuse)
    monkeypatch.setattr(run_module, "MOST", 1)
    found = run_module.run_causal(result)
    assert found.directions == []
    assert set(found.left_out.values()) == {"a row has several gradients"}


def test_outcomes_of_several_methods_go_together():
    one = outcomes.Outcomes(sizes={"a": [1.0]})
    both = one | outcomes.Outcomes(sizes={"b": [2.0]})
    assert both.sizes == {"a": [1.0], "b": [2.0]}
    assert Causal([], {}, {}).directions == []


def test_a_run_that_asks_for_it_has_it_in_its_report(looked, run, tmp_path, monkeypatch):
    _, _, found = looked
    causal = Causal(found[:1], {"eNTK, x": "no reason"}, {"train": 1})

    def run_causal(result, folder, *, progress):
        assert folder == home / windows_name(SMALL) / "causal"
        return causal

    _, home = run
    monkeypatch.setattr("tl_entk.experiments.language.run.run_causal", run_causal)
    result = run_language(replace(SMALL, causal=True), home)
    assert result.causal is causal
    monkeypatch.setattr(report, "direction_pages", lambda *_, **__: None)
    written = []

    def write(out, *parts, **more):
        written.append((parts, more["summary"]))
        return out / "report.html"

    monkeypatch.setattr(report, "write_report", write)
    report.write_outputs(result, tmp_path)
    ((parts, summary),) = written
    kept = summary["causal checks"]
    assert kept["left out"] == causal.left_out
    assert kept["statements"][0].startswith(f"{FLATTENED}: over 1 labels")
    assert "Causal checks" in [section.title for section in parts[3]]
