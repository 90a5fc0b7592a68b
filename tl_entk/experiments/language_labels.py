"""A user's own labels as text: NAME=RULE."""

from __future__ import annotations

import json
from typing import Any


def parse_label(text: str) -> tuple[str, Any]:
    """Name and rule of a user's label.

    Raises:
        ValueError: if it has no rule, or the rule is no JSON list of token descriptions.

    Example:
        >>> parse_label('adjective=[{"POS": "ADJ"}]')
        ('adjective', [{'POS': 'ADJ'}])
    """
    name, _, rule = text.partition("=")
    if not name or not rule:
        raise ValueError(f"label {text!r}: pass NAME=COLUMN or NAME=PATTERN.")
    if not rule.lstrip().startswith("["):
        return name, rule
    try:
        return name, json.loads(rule)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"label {text!r}: the pattern is no JSON ({error}); pass a list such as "
            '[{"POS": "ADJ"}].'
        ) from error
