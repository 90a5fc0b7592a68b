"""The one exception for what a caller can fix."""

from __future__ import annotations


class UserError(ValueError, TypeError):
    """Input that cannot be meant; the message says what to pass instead.

    Both a ValueError and a TypeError, so that callers who catch either go on to work. The command
    line shows it as one line; any other exception is a fault of ours and keeps its traceback.

    Example:
        >>> issubclass(UserError, ValueError) and issubclass(UserError, TypeError)
        True
    """
