"""Settings of the language-model experiment (arXiv 2510.00468, section 5)."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from typing import Any

from feature_sets.errors import UserError
from feature_sets.windows import DEFAULT_TAGS
from tl_entk.alignment.probes import Probe
from tl_entk.alignment.readout_sweep import COMPONENTS
from tl_entk.experiments.language.labels import parse_labels
from tl_entk.kernel.blocks import list_components
from tl_entk.kernel.normalize import check_normalization
from tl_entk.language.story_model import EMBEDDED
from tl_entk.model.readouts import NAMES as READOUTS
from tl_entk.model.sites import match_names

SAMPLED = "sampled"


@dataclass(frozen=True)
class LanguageSettings:
    """Model, text, windows, kernels; the defaults are the embedded model and its own text.

    Attributes:
        model: "stories" (embedded), a local folder, or a TransformerLens model name.
        model_class: "hooked", "bridge", or None for what fits.
        dataset: a file, a folder or a hub data set; "sampled" is text of the embedded model.
        column: of the data set, with the text.
        split: of the data set.
        pipeline: spaCy pipeline; None for the best there is.
        length: tokens of a window.
        per_tag: windows of each part of speech.
        per_story: most windows of one text; more than one makes examples depend on each other,
            which intervals and p-values do not know.
        agree: keep a window only where the model's own next word has the same tag.
        layers: "all", or layer numbers.
        weight: whose kernel of all logits is analysed in each layer, "mlp.W_out".
        k: directions of every basis.
        readouts: scalar readouts of the sweep; none for no sweep. class_trace, by 32 random signs,
            costs 32 times as much as another.
        components: of the sweep.
        normalizations: of the kernel of all logits, beside the plain one.
        labels: your own, NAME=RULE; a rule is a column of the data set or a spaCy matcher pattern
            as JSON.
        tol: residual up to which an eigenpair has converged, relative to the first eigenvalue.
        probe: "logistic", or "ridge", which is faster.
        max_texts: read no more texts than this.
        sampled: how many stories are sampled, where they are.
        seed: of sampling, windows, splits and solver.

    Raises:
        UserError: if a setting is out of its range.
    """

    model: str = EMBEDDED
    model_class: str | None = None
    dataset: str = SAMPLED
    column: str = "text"
    split: str = "train"
    pipeline: str | None = None
    length: int = 32
    per_tag: int = 32
    per_story: int = 1
    agree: bool = True
    layers: str | tuple[int, ...] = "all"
    weight: str = "mlp.W_out"
    k: int = 25
    readouts: tuple[str, ...] = ("logsumexp", "target_logit", "target_logprob", "mean_logit")
    components: tuple[str, ...] = ("W_out", "W_in", "W_O", "whole layer", "all layers")
    normalizations: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    tol: float = 1e-3
    probe: Probe = "logistic"
    max_texts: int | None = None
    sampled: int = 400
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.length, self.per_tag, self.per_story, self.k, self.sampled) < 1:
            raise UserError("length, per_tag, per_story, k and sampled count from 1.")
        if self.dataset == SAMPLED and self.model != EMBEDDED:
            raise UserError(
                f"text for {self.model}: pass --dataset with a file, a folder or a hub data set "
                "such as roneneldan/TinyStories (sampled text is the embedded model's own)."
            )
        if not self.layers or (self.readouts and not self.components):
            raise UserError("no layer or no component is asked for: name one, or all layers.")
        if self.per_tag < 8:
            raise UserError(
                f"per_tag = {self.per_tag}: the windows are halved twice, to choose and to judge; "
                "pass 8 or more."
            )
        for kind, names, known in (
            ("readout", self.readouts, READOUTS),
            ("component", self.components, COMPONENTS),
        ):
            for name in names:
                if name not in known:
                    there = "; ".join(known)
                    raise UserError(f"no {kind} {name!r}: there are {there}.")
        for name in self.normalizations:
            check_normalization(name)
        if not 0 < self.tol < 1:
            raise UserError(f"tol = {self.tol}: pass a number between 0 and 1, such as 1e-3.")
        if self.max_texts is not None and self.max_texts < 1:
            raise UserError(f"max_texts = {self.max_texts}: pass 1 or more, or leave it out.")
        parse_labels(self.labels)
        if self.seed < 0:
            raise UserError(f"seed = {self.seed}: pass a number from 0 on.")

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain JSON values."""
        return asdict(self)

    def check_model(self, model: Any) -> None:
        """Refuse what this model does not have, before any work.

        Raises:
            UserError: for a layer, weight or component that there is not, windows longer than the
                model reads, or more directions than the residual stream or the windows have.
        """
        names = list_components(model)
        for layer in self.chosen_layers(model.cfg.n_layers):
            match_names(names, f"blocks.{layer}.{self.weight}")
            for component in self.components if self.readouts else ():
                match_names(names, COMPONENTS[component].format(layer=layer))
        # the model's own next word is read from up to two tokens after the window
        longest = model.cfg.n_ctx - (2 if self.agree else 0)
        if self.length > longest:
            raise UserError(
                f"length = {self.length}: the model reads {model.cfg.n_ctx} tokens; pass up to "
                f"{longest}."
            )
        n = len(DEFAULT_TAGS) * self.per_tag
        most = min(model.cfg.d_model, n)
        if self.k > most:
            raise UserError(
                f"k = {self.k}: activations of width {model.cfg.d_model} and {n} windows have "
                f"{most} principal components to compare with; pass no more."
            )

    @property
    def component(self) -> str:
        """What the weight is called among the sweep's components."""
        for name, pattern in COMPONENTS.items():
            if pattern == f"blocks.{{layer}}.{self.weight}":
                return name
        return self.weight

    def chosen_layers(self, n_layers: int) -> list[int]:
        """Layer numbers of a model with so many.

        Raises:
            UserError: for a layer that there is not.
        """
        if isinstance(self.layers, str):
            if self.layers != "all":
                raise UserError(f"layers = {self.layers!r}: pass 'all' or numbers.")
            return list(range(n_layers))
        for layer in self.layers:
            if not 0 <= layer < n_layers:
                raise UserError(f"layer {layer}: the model has layers 0 to {n_layers - 1}.")
        return list(self.layers)


# what windows depend on, and what their kernels depend on beside
_WINDOWS = (
    "model", "model_class", "dataset", "column", "split", "pipeline", "length", "per_tag",
    "per_story", "agree", "max_texts", "sampled", "seed",
)  # fmt: skip
_KERNELS = ("weight", "k", "tol")


def run_name(settings: LanguageSettings) -> str:
    """A folder name that two runs share only if every setting is the same.

    Example:
        >>> run_name(LanguageSettings()).rsplit("-", 1)[0]
        'language-stories-sampled-n256'
    """
    return f"language-{_about(settings)}-{_digest(settings.as_dict())}"


def windows_name(settings: LanguageSettings) -> str:
    """A folder name that runs share whose windows are the same, with other labels or kernels.

    Example:
        >>> a, b = LanguageSettings(), LanguageSettings(probe="ridge", k=9)
        >>> windows_name(a) == windows_name(b) != windows_name(LanguageSettings(seed=1))
        True
    """
    chosen = {name: getattr(settings, name) for name in _WINDOWS}
    return f"windows-{_about(settings)}-{_digest(chosen)}"


def kernels_name(settings: LanguageSettings) -> str:
    """A folder name for the kernels of some windows, whatever the layers and readouts.

    Example:
        >>> kernels_name(LanguageSettings()) == kernels_name(LanguageSettings(layers=(3,)))
        True
    """
    return f"kernels-{_digest({name: getattr(settings, name) for name in _KERNELS})}"


def _about(settings: LanguageSettings) -> str:
    parts = [settings.model, settings.dataset]
    short = [re.sub(r"[^A-Za-z0-9.]+", "-", part.rstrip("/").split("/")[-1]) for part in parts]
    return f"{short[0]}-{short[1]}-n{len(DEFAULT_TAGS) * settings.per_tag}"


def _digest(values: dict[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
