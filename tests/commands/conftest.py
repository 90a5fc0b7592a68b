import sys

import pytest


@pytest.fixture
def call(monkeypatch, tmp_path):
    """The entry point on arguments, in this process; gives the exit code."""

    # here: on its lowest version jaxtyping's plugin begins after this file was imported
    from tl_entk.commands import main as entry

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["tl-entk", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            entry.main()
        return ended.value.code

    monkeypatch.chdir(tmp_path)
    return call
