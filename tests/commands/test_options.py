"""Options made from settings: names, defaults, helps and what a command is given."""

from dataclasses import dataclass, fields
from typing import Literal

import pytest
import typer
from typer.testing import CliRunner

from tl_entk.commands.call import Call
from tl_entk.commands.main import app
from tl_entk.commands.options import as_command, attribute_helps
from tl_entk.experiments.induction.settings import InductionSettings
from tl_entk.experiments.language.settings import PRESETS, LanguageSettings
from tl_entk.experiments.modular_mlp.settings import MLPSettings
from tl_entk.experiments.modular_transformer.settings import ModularSettings
from tl_entk.experiments.structured_superposition.settings import StructureSettings
from tl_entk.experiments.superposition.settings import SuperpositionSettings

pytestmark = pytest.mark.plain


@dataclass(frozen=True)
class Settings:
    """Settings.

    Attributes:
        k: how many. Not more.
        d_in: inputs,
            of each example.
        way: ``plain``, or ``other``.
        names: names.
        rules: rules.
        layers: ``all``, or numbers.
        fast: spaCy or not.
        path: None.
        hidden: no option.

    Raises:
        UserError: never.
    """

    k: int = 3
    d_in: float = 0.5
    way: Literal["plain", "other"] = "plain"
    names: tuple[str, ...] = ("a", "b c")
    rules: tuple[str, ...] = ()
    layers: str | tuple[int, ...] = "all"
    fast: bool = True
    path: str | None = None
    hidden: int = 7


@pytest.fixture
def call():
    """The settings and the command's own option, as the command is given them."""
    given = []

    @as_command(
        Settings, leave_out=("hidden",), helps={"rules": "A rule."}, repeated={"rules": "--rule"}
    )
    def command(call: Call[Settings], *, out: str = "runs") -> None:
        """What it does."""
        given.append((call.settings, out))

    small = typer.Typer()
    small.command()(command)

    def call(*arguments):
        result = CliRunner().invoke(small, list(arguments))
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return given.pop() if given else result.output

    return call


def test_defaults_are_the_settings(call):
    assert call() == (Settings(), "runs")


def test_every_kind_of_field(call):
    found, out = call(
        "--k", "4", "--d-in", "1e-3", "--way", "other", "--names", "x, y", "--rule", "a,b",
        "--rule", "c", "--layers", "0,2-3", "--no-fast", "--path", "here", "--out", "there",
    )  # fmt: skip
    assert found == Settings(4, 1e-3, "other", ("x", "y"), ("a,b", "c"), (0, 2, 3), False, "here")
    assert out == "there"
    assert call("--names", "none")[0].names == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--way", "x"], r"--way 'x': pass plain or other"),
        (["--layers", "x"], r"--layers 'x': pass all, or numbers"),
        (["--layers", "3-1"], "runs backwards"),
    ],
)
def test_values_of_no_field_are_refused(arguments, message, call):
    with pytest.raises(ValueError, match=message):
        call(*arguments)


def test_helps_are_the_first_sentences(call):
    shown = " ".join(call("--help").replace("│", " ").split())
    for text in ("How many. ", "Inputs, of each example.", "plain, or other.", "A rule.",
                 "spaCy or not.", "[default: a,b c]", "What it does."):  # fmt: skip
        assert text in shown
    assert "Not more" not in shown
    assert "--hidden" not in shown


@pytest.mark.parametrize(
    "kind",
    [
        LanguageSettings,
        ModularSettings,
        MLPSettings,
        SuperpositionSettings,
        InductionSettings,
        StructureSettings,
    ],
)
def test_every_setting_is_described(kind):
    assert list(attribute_helps(kind)) == [field.name for field in fields(kind)]


@pytest.fixture
def call_preset():
    """The settings that a command with presets is given."""
    given = []

    @as_command(Settings, leave_out=("hidden",), presets={"big": {"k": 99, "fast": False}})
    def command(call: Call[Settings]) -> None:
        """What it does."""
        given.append(call.settings)

    app = typer.Typer()
    app.command()(command)

    def run(*arguments):
        result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return given.pop()

    return run


def test_a_preset_sets_what_no_option_does(call_preset):
    assert call_preset() == Settings()
    assert call_preset("--preset", "big") == Settings(k=99, fast=False)
    # given is given, be it the default
    assert call_preset("--preset", "big", "--k", "3") == Settings(k=3, fast=False)
    assert call_preset("--fast", "--preset", "big", "--d-in", "2") == Settings(k=99, d_in=2.0)


def test_an_unknown_preset_is_refused(call_preset):
    with pytest.raises(ValueError, match="--preset 'small': pass big"):
        call_preset("--preset", "small")


def test_presets_are_settings():
    for name, changes in PRESETS.items():
        found = LanguageSettings.preset(name, model="a folder", dataset="texts")
        assert {field: getattr(found, field) for field in changes} == changes
    with pytest.raises(ValueError, match="no preset 'other': there is paper"):
        LanguageSettings.preset("other")


def test_a_command_has_every_setting():
    (language,) = [one.callback for one in app.registered_commands if one.name == "language"]
    names = {field.name for field in fields(LanguageSettings)}
    assert names < set(language.__annotations__)
