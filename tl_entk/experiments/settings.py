"""What the settings of all toy experiments have in common: plain values, checks, folder names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from feature_sets.errors import UserError
from tl_entk.tools.values import is_integer

# what a training diverges by, where it is too large
_RATES = ("learning_rate", "weight_decay")


@dataclass(frozen=True)
class Settings:
    """Base of the settings of an experiment: numbers under their names."""

    def as_dict(self) -> dict[str, int | float]:
        """The settings as plain JSON values."""
        return asdict(self)


def check_counts(least: int, **values: int) -> None:
    """Refuse sizes and numbers of steps below ``least``.

    Raises:
        UserError: names the value.

    Example:
        >>> check_counts(1, epochs=10, batch_size=64)
    """
    for name, value in values.items():
        if not is_integer(value) or value < least:
            raise UserError(
                f"{name} = {value!r}: pass a positive integer; these count from {least}."
            )


def check_seed(seed: int) -> None:
    """Refuse what is no seed of a random stream.

    Raises:
        UserError: names the seed.

    Example:
        >>> check_seed(0)
    """
    if not is_integer(seed) or seed < 0:
        raise UserError(f"seed = {seed}: pass a seed from 0 on.")


def check_rates(settings: Any) -> None:
    """Refuse a learning rate or weight decay that no optimizer takes.

    Raises:
        UserError: names the value.
    """
    for name in _RATES:
        value = getattr(settings, name, None)
        if value is not None and not (0 <= value < math.inf):
            raise UserError(f"{name} = {value}: pass a finite number from 0 on.")


def refuse_divergence(loss: float, step: int, settings: Any) -> None:
    """End a training whose loss is no number any more.

    Args:
        loss: after some step.
        step: its number.
        settings: of the training.

    Raises:
        UserError: names the settings that may be too large.

    Example:
        >>> refuse_divergence(0.5, 100, settings=None)
    """
    if math.isfinite(loss):
        return
    rates = {name: getattr(settings, name) for name in _RATES if hasattr(settings, name)}
    told = " and ".join(f"{name} = {value:g}" for name, value in rates.items())
    raise UserError(
        f"training diverged: the loss is {loss} at step {step}, with {told}: pass less."
    )


def count_training(p: int, train_fraction: float) -> int:
    """Number of pairs in the training part: at least one.

    Example:
        >>> count_training(29, 0.5), count_training(5, 0.01)
        (420, 1)
    """
    return max(1, int(train_fraction * p * p))


def check_addition(p: int, train_fraction: float, *, least: int = 1) -> None:
    """Refuse a modulus without key frequencies, and a split that leaves a part empty.

    Args:
        p: modulus.
        train_fraction: share of the pairs to train on.
        least: pairs that either part must have.

    Raises:
        UserError: names the value.

    Example:
        >>> check_addition(29, 0.5)
    """
    if p < 5 or p % 2 == 0:
        raise UserError(
            f"p = {p}: pass an odd number from 5 on (key frequencies stand out from others, and "
            "each has a cosine and a sine)."
        )
    pairs = p * p
    n_train = count_training(p, train_fraction) if 0 < train_fraction < 1 else 0
    if not least <= n_train <= pairs - least:
        raise UserError(
            f"train_fraction = {train_fraction} leaves one half empty, or nearly so: pass "
            f"0 < x < 1 that leaves {least} or more of the {pairs} pairs in either."
        )


def settings_name(kind: str, settings: Any, always: Sequence[str]) -> str:
    """A folder name that two runs share only if every setting is the same.

    Example:
        >>> from tl_entk.experiments.modular_mlp.settings import MLPSettings
        >>> settings_name("mlp", MLPSettings(n=64), ("seed", "p"))
        'mlp-seed0-p29-n64'
    """
    values, defaults = asdict(settings), asdict(type(settings)())
    parts = [f"{name}{values[name]}" for name in always]
    parts += [f"{k}{v}" for k, v in values.items() if k not in always and v != defaults[k]]
    return "-".join([kind, *parts])
