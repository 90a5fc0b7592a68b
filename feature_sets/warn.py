"""Warnings that point at the line of the caller's own code, however deep they are raised."""

from __future__ import annotations

import os
import sys
import warnings
from importlib.util import find_spec
from types import FrameType

# our own packages, and those that may stand between them and the caller: decorators, checks of
# shapes, solvers that call back
_PACKAGES = ("tl_entk", "feature_sets", "jaxtyping", "scipy", "torch")
_WITHIN = (
    *(
        f"{folder}{os.sep}"
        for name in _PACKAGES
        if (spec := find_spec(name)) is not None
        for folder in spec.submodule_search_locations or ()
    ),
    "<@beartype",
)


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn, pointing at the first line outside of these packages that led here.

    Args:
        message: what happened, and what to do.
        category: kind of warning.

    Example:
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     warn_user("pass more examples.", RuntimeWarning)
        >>> str(caught[0].message), os.path.basename(caught[0].filename) == "warn.py"
        ('pass more examples.', False)
    """
    frame: FrameType | None = sys._getframe(1)
    level = 2
    while frame is not None and frame.f_code.co_filename.startswith(_WITHIN):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
