"""Settings of the language-model experiment (arXiv 2510.00468, section 5)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from feature_sets.errors import UserError
from feature_sets.tags import DEFAULT_TAGS
from feature_sets.texts import Missing, check_missing
from tl_entk.alignment.names import BASELINES, COMPONENTS, PCA, RANDOM, Probe
from tl_entk.experiments.language.labels import parse_labels
from tl_entk.kernel.normalizations import check_normalization
from tl_entk.language.story_model import EMBEDDED
from tl_entk.model.readout_names import NAMES as READOUTS

# data set: text of the embedded model
SAMPLED = "sampled"
# layers: each of them
EVERY_LAYER = "all"
WITHIN, APART = "within a predicted token", "predicted tokens apart"
PRESENT_WORD, TEXT_SO_FAR = "labels of the present word", "labels of the context"
# control to what it is, for reports
CONTROLS = {
    WITHIN: "scores less the mean of the windows with the same predicted token, which lie in one "
    "half; only windows that share their token with another, and labels that vary within one",
    APART: "windows with one predicted token lie in one half, so that the test half has none of "
    "the train half's",
    PRESENT_WORD: "labels of the last word of the window instead of the next one",
    TEXT_SO_FAR: "labels of the text so far: quotations, sentences that ended, length and verb",
}

# choices under one name. The paper's: windows of 64 tokens of the story alone, 128 of each tag, the
# kernel of all logits of W_out in every layer, beside the raw centered PCA of the residual stream
PRESETS: dict[str, dict[str, Any]] = {
    "paper": dict(
        bos=False, length=64, per_tag=128, agree=True, weight="mlp.W_out", k=25, layers=EVERY_LAYER
    ),
}


@dataclass(frozen=True)
class LanguageSettings:
    """Model, text, windows, kernels; the defaults are the embedded model and its own text.

    The first sentence of every attribute is the help of its option on the command line.

    Attributes:
        model: ``stories`` (embedded), a folder in Hugging Face's format, or a TransformerLens name
            such as gemma-3-270m.
        dataset: a text file, a folder, or a hub data set such as roneneldan/TinyStories;
            ``sampled``: stories written by the embedded model.
        layers: ``all``, or layer numbers.
        k: directions per layer and method.
        per_tag: windows of each of eight parts of speech.
        length: tokens of a window, with <bos>.
        bos: put <bos> in front of every window.
        per_story: most windows of one text. More than one makes examples depend on each other,
            which intervals and p-values do not know.
        readouts: scalar readouts of the sweep; none for no sweep. class_trace, by 32 random signs,
            costs 32 times as much as another.
        components: components of the sweep.
        normalizations: of the kernel of all logits, beside the plain one.
        baselines: what the kernels stand beside. PCA and random directions are always among them.
        controls: under which controls the methods are judged too.
        shares: share every feature out to weights and heads, by a kernel of all of them.
        weight: weight whose kernel of all logits is analyzed in each layer. Without the layer:
            "mlp.W_out".
        all_logits: make the kernel of all logits.
        outputs: directions that all logits are compressed to, for the kernels of all layers at
            once. As many backward passes are made; more come nearer to the whole kernel.
        exact: solve the kernel of all logits whole, layer by layer. By far dearer: about 75
            products per layer, each two passes through the rest of the network.
        labels: your own labels, NAME=RULE. A rule is a column of the data set or a spaCy matcher
            pattern as JSON.
        agree: keep windows where the model's own next word has the same tag.
        pipeline: spaCy pipeline; default the best installed, or embedded.
        column: column with the text.
        split: split of the data set.
        max_texts: read no more texts.
        missing: ``skip`` rows without a text or a value of a label's column, or ``refuse`` them.
        sampled: stories to write, with --dataset sampled.
        tol: residual of an eigenpair, over the first eigenvalue. Up to it a pair has converged.
        probe: ``logistic``, or ``ridge`` (faster).
        causal: step along the kernel's directions and their rivals, and see what the model says.
            For the most frequent tags and morphological labels.
        seed: of windows, splits, solver. Of the sampled stories too.
        model_class: ``hooked`` (TransformerLens 3.9) or ``bridge`` (3.9 and 4.x). None for what
            the model can be.

    Raises:
        UserError: if a setting is out of its range.
    """

    model: str = EMBEDDED
    dataset: str = SAMPLED
    layers: str | tuple[int, ...] = EVERY_LAYER
    k: int = 25
    per_tag: int = 32
    length: int = 32
    bos: bool = True
    per_story: int = 1
    readouts: tuple[str, ...] = ("logsumexp", "target_logit", "target_logprob", "mean_logit")
    components: tuple[str, ...] = tuple(COMPONENTS)
    normalizations: tuple[str, ...] = ()
    baselines: tuple[str, ...] = tuple(name for name in BASELINES if name not in (PCA, RANDOM))
    controls: tuple[str, ...] = tuple(CONTROLS)
    shares: bool = True
    weight: str = "mlp.W_out"
    all_logits: bool = True
    outputs: int = 32
    exact: bool = False
    labels: tuple[str, ...] = ()
    agree: bool = True
    pipeline: str | None = None
    column: str = "text"
    split: str = "train"
    max_texts: int | None = None
    missing: Missing = "skip"
    sampled: int = 400
    tol: float = 1e-3
    probe: Probe = "logistic"
    causal: bool = False
    seed: int = 0
    model_class: str | None = None

    def __post_init__(self) -> None:
        counts = (self.length, self.per_tag, self.per_story, self.k, self.sampled, self.outputs)
        if min(counts) < 1:
            raise UserError("length, per_tag, per_story, k, sampled and outputs count from 1.")
        if self.dataset == SAMPLED and self.model != EMBEDDED:
            raise UserError(
                f"text for {self.model}: pass --dataset with a file, a folder or a hub data set "
                "such as roneneldan/TinyStories (sampled text is the embedded model's own)."
            )
        if not self.layers or (self.readouts and not self.components):
            raise UserError("no layer or no component is asked for: name one, or all layers.")
        if not (self.all_logits or self.readouts):
            raise UserError("no kernel is asked for: pass --all-logits, or a readout.")
        if self.normalizations and not self.all_logits:
            raise UserError(
                "normalizations are of the kernel of all logits: leave them out (the other kernels "
                "have all of them), or pass --all-logits."
            )
        if self.per_tag < 8:
            raise UserError(
                f"per_tag = {self.per_tag}: the windows are halved twice, to choose and to judge; "
                "pass 8 or more."
            )
        for kind, names, known in (
            ("readout", self.readouts, READOUTS),
            ("component", self.components, COMPONENTS),
            ("baseline", self.baselines, BASELINES),
            ("control", self.controls, CONTROLS),
        ):
            for name in names:
                if name not in known:
                    raise UserError(f"no {kind} {name!r}: there are {'; '.join(known)}.")
        for name in self.normalizations:
            check_normalization(name)
        if not 0 < self.tol < 1:
            raise UserError(f"tol = {self.tol}: pass a number between 0 and 1, such as 1e-3.")
        if self.max_texts is not None and self.max_texts < 1:
            raise UserError(f"max_texts = {self.max_texts}: pass 1 or more, or leave it out.")
        check_missing(self.missing)
        rules = parse_labels(self.labels)
        if self.dataset == SAMPLED:
            self._refuse_columns(rules)
        if self.seed < 0:
            raise UserError(f"seed = {self.seed}: pass a number from 0 on.")

    def _refuse_columns(self, rules: dict[str, Any]) -> None:
        """Refuse what asks for a data set's columns where there are none.

        Raises:
            UserError: names it.
        """
        asked = [
            f"{name} {getattr(self, name)!r}"
            for name in ("column", "split")
            if getattr(self, name) != _DEFAULTS[name]
        ]
        asked += [f"label {name!r}" for name, rule in rules.items() if isinstance(rule, str)]
        if asked:
            raise UserError(
                f"{asked[0]} is of a data set, and the text is sampled: pass --dataset with a "
                "file, a folder or a hub data set, or leave it out."
            )

    @classmethod
    def preset(cls, name: str, **changes: Any) -> LanguageSettings:
        """Settings under one name, with changes.

        Args:
            name: among ``PRESETS``.
            changes: other attributes.

        Raises:
            UserError: for an unknown name, or as the class.

        Example:
            >>> LanguageSettings.preset("paper", layers=(3,)).length
            64
        """
        if name not in PRESETS:
            raise UserError(f"no preset {name!r}: there is {', '.join(PRESETS)}.")
        return cls(**{**PRESETS[name], **changes})

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain JSON values."""
        return asdict(self)

    @property
    def n_windows(self) -> int:
        """How many windows are asked for, of all parts of speech together."""
        return len(DEFAULT_TAGS) * self.per_tag

    @property
    def every_baseline(self) -> list[str]:
        """Names of the baselines in their order, PCA and random directions among them."""
        return [name for name in BASELINES if name in (PCA, RANDOM, *self.baselines)]

    @property
    def component(self) -> str:
        """What the weight is called among the sweep's components."""
        for name, patterns in COMPONENTS.items():
            if patterns == (f"blocks.{{layer}}.{self.weight}",):
                return name
        return self.weight

    def chosen_layers(self, n_layers: int) -> list[int]:
        """Layer numbers of a model with so many.

        Raises:
            UserError: for a layer that the model does not have.
        """
        if isinstance(self.layers, str):
            if self.layers != EVERY_LAYER:
                raise UserError(f"layers = {self.layers!r}: pass 'all' or numbers.")
            return list(range(n_layers))
        for layer in self.layers:
            if not 0 <= layer < n_layers:
                raise UserError(f"layer {layer}: the model has layers 0 to {n_layers - 1}.")
        return list(self.layers)


# what windows depend on, and what their kernels depend on beside
_WINDOWS = (
    "model", "model_class", "dataset", "column", "split", "pipeline", "length", "bos", "per_tag",
    "per_story", "agree", "max_texts", "missing", "sampled", "seed",
)  # fmt: skip
_KERNELS = ("weight", "k", "tol")
# of which a name has the last part only
_TEXT = ("model", "dataset")
_DEFAULTS = {field.name: field.default for field in fields(LanguageSettings)}
_PLAIN = re.compile(r"[A-Za-z0-9.]+(-[A-Za-z0-9.]+)*")


def run_name(settings: LanguageSettings) -> str:
    """A folder name that two runs share only if every setting is the same.

    Example:
        >>> run_name(LanguageSettings()), run_name(LanguageSettings(k=9, probe="ridge"))
        ('language-stories-n256-k25-seed0', 'language-stories-n256-k9-seed0-149b05')
    """
    said = (*_TEXT, "per_tag", "k", "seed")
    name = f"language-{_about(settings)}-k{settings.k}-seed{settings.seed}"
    return name + _digest(settings, list(_DEFAULTS), said)


def windows_name(settings: LanguageSettings) -> str:
    """A folder name of the windows: runs with other labels or kernels share it.

    Example:
        >>> a, b = LanguageSettings(), LanguageSettings(probe="ridge", k=9)
        >>> windows_name(a) == windows_name(b) != windows_name(LanguageSettings(seed=1))
        True
    """
    name = f"windows-{_about(settings)}-seed{settings.seed}"
    return name + _digest(settings, _WINDOWS, (*_TEXT, "per_tag", "seed"))


def kernels_name(settings: LanguageSettings) -> str:
    """A folder name for the kernels of some windows, whatever the layers and readouts.

    Example:
        >>> kernels_name(LanguageSettings(layers=(3,))), kernels_name(LanguageSettings(tol=0.01))
        ('kernels-mlp.W_out-k25', 'kernels-mlp.W_out-k25-cf8324')
    """
    weight = re.sub(r"[^A-Za-z0-9._]+", "-", settings.weight)
    said = ("k", "weight") if weight == settings.weight else ("k",)
    return f"kernels-{weight}-k{settings.k}" + _digest(settings, _KERNELS, said)


def _about(settings: LanguageSettings) -> str:
    about = _short(settings.model)
    if settings.dataset != _DEFAULTS["dataset"]:
        # a sign that neither part has
        about += f"_{_short(settings.dataset)}"
    return f"{about}-n{settings.n_windows}"


def _short(path: str) -> str:
    """The last part of a path or of a hub's name."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", path.rstrip("/").split("/")[-1]).strip("-")


def _digest(settings: LanguageSettings, names: Sequence[str], said: Sequence[str]) -> str:
    """Digits of what the name does not say and is not the default; nothing where nothing is."""
    values: dict[str, Any] = {name: getattr(settings, name) for name in names}
    # a name that was cut could be another's too
    whole = [name for name in said if name not in _TEXT or _PLAIN.fullmatch(values[name])]
    unsaid = {
        name: value
        for name, value in values.items()
        if name not in whole and value != _DEFAULTS[name]
    }
    if not unsaid:
        return ""
    text = json.dumps(unsaid, sort_keys=True, default=str)
    return f"-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
