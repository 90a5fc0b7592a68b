"""A command that torchrun has started."""

import pytest

from feature_sets.errors import UserError
from tl_entk.commands.processes import _own_gpu


def test_each_process_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert _own_gpu(2) == 1
    with pytest.raises(UserError, match=r"process 2 .* no GPU.*--nproc-per-node 1"):
        _own_gpu(1)
