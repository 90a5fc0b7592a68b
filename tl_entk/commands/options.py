"""Options of a command, made from the fields of its settings: each is written down once.

A field becomes an option of its name; type and default are the field's, and the help is the first
sentence of what the docstring of the settings says of it. Lists are separated by commas, "none"
for none. A command declares beside it only what is no setting: folders, devices, seeds.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import typer

from feature_sets.errors import UserError
from tl_entk.commands.call import Call
from tl_entk.commands.checks import check_choice
from tl_entk.commands.console import set_quiet
from tl_entk.experiments.language.settings import EVERY_LAYER

Out = Annotated[Path, typer.Option(help="Folder for results and reports.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, ...")]
ModelClassName = Annotated[
    str | None, typer.Option(help="hooked (TransformerLens 3.9) or bridge (3.9 and 4.x).")
]
Estimate = Annotated[
    bool, typer.Option("--estimate", help="Say what the run will take, and do not run it.")
]
Seeds = Annotated[int, typer.Option(help="How many seeds, from the first on.")]
Workers = Annotated[int | None, typer.Option(help="Processes side by side; default two.")]
# help of the seed of a command that has several
FIRST_SEED = "First seed; it is the one drawn."

NONE = "none"
# no model has as many layers: a slip of the keys would fill the memory
MOST_LAYERS = 9999


Quiet = Annotated[
    bool, typer.Option("--quiet", help="Print nothing but errors and the report's path.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Print the traceback of an error too.")]
# of every command; main looks whether --debug was given
_OUTPUT = [
    inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation)
    for name, annotation in (("quiet", Quiet), ("debug", Debug))
]
# arguments of a command that a second call of it may have otherwise
_NOT_RECORDED = ("out", "estimate")


class Form(NamedTuple):
    """How a field is written on the command line.

    Attributes:
        type: of the option.
        show: its default, of the field's.
        parse: the field's value, of the option's.
    """

    type: Any
    show: Callable[[Any], Any]
    parse: Callable[[Any], Any]


class SettingsOption(NamedTuple):
    """A field of settings and the option that it becomes.

    Attributes:
        field: its name.
        name: of the option.
        form: how the field is written.
        parameter: what typer reads.
    """

    field: str
    name: str
    form: Form
    parameter: inspect.Parameter


def as_command(
    kind: type[Any] | None = None,
    *,
    leave_out: Collection[str] = (),
    helps: Mapping[str, str] | None = None,
    repeated: Mapping[str, str] | None = None,
    presets: Mapping[str, Mapping[str, Any]] | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator of a command, whose first argument is its ``Call``, settings and all.

    The fields of the settings become options, and so do ``--quiet`` and ``--debug``.

    Args:
        kind: frozen dataclass whose fields all have defaults; None for a command without settings.
        leave_out: fields that are no options and stay as they are by default.
        helps: field to its help, where it is written otherwise here than in Python.
        repeated: field that is a list to an option which is given once for each item.
        presets: name to fields that an option --preset sets, but for options that are given.

    Raises:
        UserError: when the command is called, for a value that is none of the field's.
    """
    settings_options = _settings_options(kind, leave_out, helps or {}, repeated or {})
    declared = [option.parameter for option in settings_options]
    if presets:
        help_text = f"Choices under one name: {', '.join(presets)}. Other options overrule them."
        declared = [*_preset_parameters(help_text), *declared]

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
        signature = inspect.Signature([*declared, *own, *_OUTPUT])

        @functools.wraps(command)
        def from_options(**values: Any) -> Any:
            set_quiet(values.pop("quiet"))
            values.pop("debug")
            preset = _preset_fields(presets, values) if presets else {}
            chosen = {one.field: one.form.parse(values.pop(one.field)) for one in settings_options}
            chosen |= preset
            settings = None if kind is None else kind(**chosen)
            options = {one.name: one.form.show(chosen[one.field]) for one in settings_options}
            call = Call(_command_name(command), settings, options | _plain_options(values))
            return command(call, **values)

        from_options.__signature__ = signature  # type: ignore[attr-defined]
        from_options.__annotations__ = {
            name: parameter.annotation for name, parameter in signature.parameters.items()
        }
        return from_options

    return decorate


def _settings_options(
    kind: type[Any] | None,
    leave_out: Collection[str],
    helps: Mapping[str, str],
    repeated: Mapping[str, str],
) -> list[SettingsOption]:
    """An option for each field."""
    if kind is None:
        return []
    hints, texts = get_type_hints(kind), {**attribute_helps(kind), **helps}
    found = []
    for field in fields(kind):
        if field.name in leave_out:
            continue
        name = repeated.get(field.name, option_name(field.name))
        form = _REPEATED if field.name in repeated else _form(hints[field.name], name)
        # typer makes "--agree" and "--no-agree" of a switch by itself
        declarations = () if form.type is bool else (name,)
        parameter = inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=form.show(field.default),
            annotation=Annotated[form.type, typer.Option(*declarations, help=texts[field.name])],
        )
        found.append(SettingsOption(field.name, name, form, parameter))
    return found


def _command_name(command: Callable[..., Any]) -> str:
    return command.__name__.replace("_", "-")


def _plain_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """A command's own options as JSON has them, but for where it writes."""
    return {option_name(name): value for name, value in values.items() if name not in _NOT_RECORDED}


def _preset_parameters(help_text: str) -> list[inspect.Parameter]:
    """What typer hands to a command with presets: which options are given, and the preset."""
    kind = inspect.Parameter.KEYWORD_ONLY
    preset = Annotated[str | None, typer.Option("--preset", help=help_text)]
    return [
        inspect.Parameter("context", kind, annotation=typer.Context),
        inspect.Parameter("preset", kind, default=None, annotation=preset),
    ]


def _preset_fields(
    presets: Mapping[str, Mapping[str, Any]], values: dict[str, Any]
) -> dict[str, Any]:
    """The fields that the preset sets and no option does; ``values`` keep the options alone."""
    context, name = values.pop("context"), values.pop("preset")
    if name is None:
        return {}
    return {
        field: value
        for field, value in presets[check_choice("--preset", name, tuple(presets))].items()
        if context.get_parameter_source(field).name == "DEFAULT"
    }


def option_name(field: str) -> str:
    """What an option of this field, or argument, is called.

    Example:
        >>> option_name("per_tag")
        '--per-tag'
    """
    return "--" + field.replace("_", "-")


def attribute_helps(kind: type[Any]) -> dict[str, str]:
    """Attribute to the first sentence that a class's docstring says of it, as help of an option.

    Example:
        >>> class Settings:
        ...     '''Settings.
        ...
        ...     Attributes:
        ...         seed: of the weights. Any number.
        ...         probe: ``ridge``, or
        ...             ``logistic``.
        ...
        ...     Raises:
        ...         UserError: never.
        ...     '''
        >>> attribute_helps(Settings)
        {'seed': 'Of the weights.', 'probe': 'ridge, or logistic.'}
    """
    _, _, section = (inspect.getdoc(kind) or "").partition("\nAttributes:\n")
    section = re.split(r"\n(?=\S)", section)[0]
    entries = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", section, re.MULTILINE)
    return {name: _as_help(" ".join(text.split())) for name, text in entries}


def _as_help(text: str) -> str:
    sentence = re.split(r"(?<=\.) ", text)[0]
    # what is typed as it stands, and names such as spaCy, begin as they do
    if sentence.split()[0].islower() and not sentence.startswith("``"):
        sentence = sentence[0].upper() + sentence[1:]
    return sentence.replace("``", "")


def _form(hint: Any, option: str) -> Form:
    """How a field of this type is written."""
    if get_origin(hint) is Literal:
        return Form(str, _same, lambda value: check_choice(option, value, get_args(hint)))
    if hint == tuple[str, ...]:
        return Form(str, lambda names: ",".join(names) or NONE, parse_names)
    if hint == str | tuple[int, ...]:
        return Form(str, _show_layers, lambda text: parse_layers(text, option))
    return Form(hint, _same, _same)


def _show_layers(layers: str | tuple[int, ...]) -> str:
    return layers if isinstance(layers, str) else ",".join(map(str, layers))


def _same(value: Any) -> Any:
    return value


_REPEATED = Form(
    type=list[str] | None,
    show=lambda items: list(items) or None,
    parse=lambda items: tuple(items or ()),
)


def parse_names(text: str) -> tuple[str, ...]:
    """Names separated by commas; "none" for no name.

    Example:
        >>> parse_names("logsumexp, target_logit"), parse_names("none")
        (('logsumexp', 'target_logit'), ())
    """
    return () if text == NONE else tuple(name.strip() for name in text.split(",") if name.strip())


def parse_numbers(text: str) -> list[float]:
    """Numbers separated by commas.

    Raises:
        UserError: for what is no number.

    Example:
        >>> parse_numbers("0, 0.3")
        [0.0, 0.3]
    """
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise UserError(f"{text!r}: pass numbers separated by commas, as 0,0.3,1.") from error


def parse_layers(text: str, option: str = "--layers") -> str | tuple[int, ...]:
    """Layers as numbers and ranges, or "all".

    Raises:
        UserError: for anything else.

    Example:
        >>> parse_layers("0,3-5")
        (0, 3, 4, 5)
    """
    if text == EVERY_LAYER:
        return text
    found: list[int] = []
    for part in text.split(","):
        ends = part.strip().split("-")
        if len(ends) > 2 or not all(end.isdecimal() for end in ends):
            raise UserError(f"{option} {text!r}: pass all, or numbers such as 0,3,5 or 2-4.")
        if any(len(end) > len(str(MOST_LAYERS)) for end in ends):
            raise UserError(f"{option} {text!r}: {part} goes beyond {MOST_LAYERS}.")
        if int(ends[0]) > int(ends[-1]):
            raise UserError(f"{option} {text!r}: {part} runs backwards.")
        found += range(int(ends[0]), int(ends[-1]) + 1)
    return tuple(dict.fromkeys(found))
