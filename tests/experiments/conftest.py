"""One small run of the language experiment for all that look at it."""

import pytest


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    # here: on its lowest version jaxtyping's plugin begins after this file was imported
    from tests.experiments.small_language import SMALL
    from tl_entk.experiments.language.run import run_language

    folder = tmp_path_factory.mktemp("runs")
    result = run_language(SMALL, folder)
    return result, folder


@pytest.fixture
def nothing_computed(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("computed again")

    for name in ("kernels.top_eigendirections", "kernels.sweep_directions",
                 "kernels.baseline_scores", "kernels.all_eigendirections",
                 "data.activations_at", "data.greedy_continuation",
                 "data.context_windows", "data.sample_stories"):  # fmt: skip
        monkeypatch.setattr(f"tl_entk.experiments.language.{name}", refuse)
