"""A command as it was called: what its run folder says of it, so that it can be run again."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from feature_sets.errors import UserError

CONFIG = "config.json"
_WHAT = "call of a command"
# raised where a file of this version could not be read by the one before
FORMAT = 1

Settings = TypeVar("Settings")


@dataclass(frozen=True)
class Call(Generic[Settings]):
    """A command with everything that it was asked for.

    Attributes:
        command: its name.
        settings: the settings that its options made; None where it has none.
        options: option to what was given or is its default, as plain JSON values: text, a number, a
            switch, a list for an option that is given several times, or None.
    """

    command: str
    settings: Settings
    options: Mapping[str, Any]

    def write(self, folder: Path) -> None:
        """Keep it in a run's folder.

        Raises:
            OSError: if the folder cannot be written to.
        """
        # what it brings is slow to import
        from tl_entk.model.provenance import versions
        from tl_entk.tools.files import write_kept

        about = {
            "format": FORMAT,
            "command": self.command,
            "options": dict(self.options),
            "versions": {"python": platform.python_version(), **versions()},
        }
        write_kept(folder / CONFIG, about)


@dataclass(frozen=True)
class KeptCall:
    """What a run's folder says of the command that made it.

    Attributes:
        path: of the file.
        command: its name.
        options: as those of a ``Call``.
        version: of tl_entk.
    """

    path: Path
    command: str
    options: dict[str, Any]
    version: str

    def arguments(self) -> list[str]:
        """The command and its options as one would type them.

        Example:
            >>> options = {"--k": 9, "--label": ["a=b"], "--agree": False, "--column": None}
            >>> KeptCall(Path(), "language", options, "0.1.0").arguments()
            ['language', '--k', '9', '--label', 'a=b', '--no-agree']
        """
        found = [self.command]
        for option, value in self.options.items():
            if isinstance(value, bool):
                found.append(option if value else f"--no-{option.removeprefix('--')}")
            elif isinstance(value, list):
                found += [text for item in value for text in (option, str(item))]
            elif value is not None:
                found += [option, str(value)]
        return found


def read_call(folder: Path) -> KeptCall:
    """The call that a run's folder was made by.

    Args:
        folder: of the run, or its ``config.json``.

    Raises:
        FileNotFoundError: if the folder has no such file.
        UserError: if the file is damaged, was changed by hand, or is of another version.
    """
    path = folder if folder.is_file() else folder / CONFIG
    if not path.is_file():
        raise FileNotFoundError(
            f"no {CONFIG} in {folder}: pass the folder of a run, where its report.html lies."
        )
    # what it brings is slow to import
    from tl_entk.tools.files import read_kept, refuse_damaged

    with refuse_damaged(path, _WHAT):
        kept = read_kept(path, _WHAT)
        found = KeptCall(path, kept["command"], kept["options"], kept["versions"]["tl_entk"])
        number = int(kept["format"])
        if not (isinstance(found.command, str) and isinstance(found.options, dict)):
            raise TypeError("its command or its options are of another kind")
        if not all(option.startswith("--") for option in found.options):
            raise ValueError("its options are none")
    if number > FORMAT:
        raise UserError(
            f"{path} was written by tl_entk {found.version}, in format {number}; this one reads up "
            f"to {FORMAT}: install tl_entk {found.version} or newer."
        )
    return found
