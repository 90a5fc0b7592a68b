"""A search for windows that is interrupted goes on where it was."""

import pytest
import torch

from tl_entk.language.kept_continuation import KeptContinuation


class Rule:
    """Doubles the last token, and counts the windows that it is asked of."""

    def __init__(self, fail_after=10**9):
        self.asked, self.fail_after = 0, fail_after

    def __call__(self, windows):
        self.asked += len(windows)
        if self.asked > self.fail_after:
            raise KeyboardInterrupt
        return 2 * windows[:, -1:]


def test_what_was_answered_is_looked_up(tmp_path):
    windows, path = torch.arange(40).reshape(10, 4), tmp_path / "next.safetensors"
    rule = Rule(fail_after=6)
    first, second, third = windows[:9].split(3)
    with KeptContinuation(rule, path) as continuation:
        continuation(first)
        continuation(second)
        with pytest.raises(KeyboardInterrupt):
            continuation(third)
    assert rule.asked == 9
    again = Rule()
    with KeptContinuation(again, path) as continuation:
        found = torch.cat([continuation(rows) for rows in windows.split(5)])
    assert torch.equal(found, 2 * windows[:, -1:])
    assert again.asked == 4  # six were kept
    last = Rule()
    with KeptContinuation(last, path) as continuation:
        assert torch.equal(continuation(windows), found)
    assert last.asked == 0
