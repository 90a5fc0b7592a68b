"""What another library's error says, short enough for a message of our own."""

from __future__ import annotations


def first_line(error: BaseException) -> str:
    r"""The first line of an error's text, or its kind where it has none.

    Example:
        >>> first_line(ValueError("no such key\n  at line 3")), first_line(KeyboardInterrupt())
        ('no such key', 'KeyboardInterrupt')
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
