"""What the settings of all toy experiments have in common: plain values, and checks of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from feature_sets.errors import UserError
from tl_entk.tools.values import is_integer


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
