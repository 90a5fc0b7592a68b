"""A user's own labels as text: NAME=RULE."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from feature_sets.errors import UserError
from feature_sets.matching import check_pattern


def parse_labels(texts: Sequence[str]) -> dict[str, Any]:
    """Name to rule of several labels.

    Raises:
        UserError: if two have one name, or as ``parse_label``.
    """
    pairs = [parse_label(text) for text in texts]
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"two labels are called {name!r}: choose another name for one.")
    return dict(pairs)


def parse_label(text: str) -> tuple[str, Any]:
    """Name and rule of a user's label.

    Raises:
        UserError: if it has no rule, or the rule is no JSON list of token descriptions that
            spaCy's matcher takes.

    Example:
        >>> parse_label('adjective=[{"POS": "ADJ"}]')
        ('adjective', [{'POS': 'ADJ'}])
    """
    name, _, rule = text.partition("=")
    if not name or not rule:
        raise UserError(f"label {text!r}: pass NAME=COLUMN or NAME=PATTERN.")
    if not rule.lstrip().startswith(("[", "{")):
        return name, rule
    try:
        pattern = json.loads(rule)
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError(
            f"label {text[:200]!r}: the pattern is no JSON ({error}); pass a list such as "
            '[{"POS": "ADJ"}].'
        ) from error
    try:
        check_pattern(pattern)
    except UserError as error:
        raise UserError(f"label {text[:200]!r}: {error}") from error
    return name, pattern
