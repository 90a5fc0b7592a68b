"""Names of the normalizations of a kernel, and what each does."""

from __future__ import annotations

from typing import NamedTuple

from feature_sets.errors import UserError


class Normalization(NamedTuple):
    """What is done to a kernel: first cosines, then centering."""

    cosine: bool
    centered: bool


NORMALIZATIONS = {
    "plain": Normalization(cosine=False, centered=False),
    "centered": Normalization(cosine=False, centered=True),
    "cosine": Normalization(cosine=True, centered=False),
    "cosine+centered": Normalization(cosine=True, centered=True),
}


def check_normalization(name: str) -> Normalization:
    """The normalization of this name.

    Raises:
        UserError: for an unknown one; an old spelling is answered with the new one.

    Example:
        >>> check_normalization("centered")
        Normalization(cosine=False, centered=True)
    """
    if isinstance(name, str) and name in NORMALIZATIONS:
        return NORMALIZATIONS[name]
    if isinstance(name, str) and "centred" in name:
        raise UserError(
            f"normalization {name!r} is spelled otherwise now: 'centered' for 'centred', "
            "'cosine+centered' for 'cosine, centred'; on the command line commas separate several."
        )
    raise UserError(f"no normalization {name!r}: pass one of {', '.join(NORMALIZATIONS)}.")
