"""The language-model experiment: grammar in eNTK directions, beside PCA, probes and chance.

Every method gives k directions per layer. Directions, signs, the best layer and the best way to
make a kernel are chosen on the train half of the windows; everything reported is of the test half.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from feature_sets.grammar import Rule
from feature_sets.pipelines import load_pipeline
from tl_entk.alignment.model_baselines import OwnBaseline
from tl_entk.directions.eigen import EigenDirections
from tl_entk.experiments.clock import Clock
from tl_entk.experiments.language.causal.result import Causal
from tl_entk.experiments.language.causal.run import run_causal
from tl_entk.experiments.language.checks import check_model
from tl_entk.experiments.language.data import LanguageData, check_texts, language_data
from tl_entk.experiments.language.inputs import CAUSAL, JUDGED
from tl_entk.experiments.language.judging import FLATTENED, Judged, judge_language
from tl_entk.experiments.language.kernels import Directions, language_directions
from tl_entk.experiments.language.settings import (
    LanguageSettings,
    kernels_name,
    windows_name,
)
from tl_entk.language.loading import LanguageModel, load_language_model
from tl_entk.model.adapters import adapt_transformer
from tl_entk.tools.locks import lock_folder


@dataclass(frozen=True, eq=False)
class LanguageResult:
    """Everything a report of one language model shows.

    Attributes:
        settings: of the run.
        model: model and tokenizer.
        data: windows, labels, activations.
        directions: of every method and layer.
        judged: what they reach.
        seconds: part to wall time.
        causal: what steps along the directions do; None where that was not asked for.
    """

    settings: LanguageSettings
    model: LanguageModel
    data: LanguageData
    directions: Directions
    judged: Judged
    seconds: dict[str, float]
    causal: Causal | None = None

    @property
    def model_info(self) -> dict[str, Any]:
        """Name, class, quantization and sizes of the model."""
        adapter = adapt_transformer(self.model.model)
        return {
            "name": self.model.name,
            "class": self.model.model_class,
            "quantization": self.model.quantization or "none",
            "layers": adapter.n_layers,
            "d_model": adapter.d_model,
            "d_vocab": adapter.vocabulary,
            "parameters": sum(p.numel() for p in self.model.model.parameters()),
        }

    def eigen(self, method: str) -> dict[str, EigenDirections]:
        """Layer to eigendirections of an eNTK method."""
        if method == FLATTENED:
            return self.directions.flattened
        return self.directions.sweep[self.judged.candidates[method]]

    def decode(self, token: int) -> str:
        """Text of one token."""
        return str(self.model.tokenizer.decode([token]))


def run_language(
    settings: LanguageSettings,
    folder: str | Path,
    *,
    device: str = "cpu",
    own: dict[str, Rule] | None = None,
    own_baselines: Mapping[str, OwnBaseline] | None = None,
    memory_budget: int | None = None,
    progress: bool = False,
) -> LanguageResult:
    """Load the model, make windows and labels, compute and judge every method's directions.

    Windows, eigendirections, the sweep's readouts, the solver's checkpoints and what was judged
    are kept in the folder: an interrupted run goes on, and one with other labels, layers or
    readouts reuses what it shares.

    Args:
        settings: model, text, windows, kernels.
        folder: of all runs; what is kept lies in one named by the windows' settings.
        device: where to compute.
        own: your own labels beside those of the settings, as for :func:`feature_sets.grammar`.
        own_baselines: your own baselines beside those of the settings, as for
            :func:`tl_entk.baseline_scores`.
        memory_budget: bytes for the kernels' temporaries (default 4 GiB, on a GPU half of
            what is free).
        progress: show estimates and bars.

    Raises:
        UserError, OSError: for settings, models or data that cannot be meant, and a folder that
            another run writes to; says what to do.

    Source: arXiv 2510.00468, section 5.
    """
    home = Path(folder) / windows_name(settings)
    clock = Clock()
    check_texts(settings, home)
    nlp = load_pipeline(settings.pipeline)
    language_model = load_language_model(
        settings.model, model_class=settings.model_class, device=device
    )
    check_model(settings, language_model.model)
    clock.lap("model and pipeline")
    # runs with other labels, layers or readouts write to the same folder
    with lock_folder(home):
        data = language_data(settings, language_model, nlp, home, own=own, progress=progress)
        clock.lap("windows and labels")
        directions = language_directions(
            settings,
            language_model.model,
            data,
            home / kernels_name(settings),
            own_baselines=own_baselines,
            memory_budget=memory_budget,
            progress=progress,
        )
        clock.lap("kernels and eigendirections")
        judged = judge_language(settings, data, directions, folder=home / JUDGED, progress=progress)
        clock.lap("judging")
        result = LanguageResult(settings, language_model, data, directions, judged, clock.seconds)
        if settings.causal:
            result = replace(result, causal=run_causal(result, home / CAUSAL, progress=progress))
            clock.lap("causal checks")
    return result
