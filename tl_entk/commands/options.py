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
from tl_entk.commands.checks import check_choice
from tl_entk.experiments.language.settings import EVERY_LAYER

Out = Annotated[Path, typer.Option(help="Folder for results and reports.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, ...")]
ModelClassName = Annotated[
    str | None, typer.Option(help="hooked (TransformerLens 3.9) or bridge (3.9 and 4.x).")
]
Seeds = Annotated[int, typer.Option(help="How many seeds, from the first on.")]
Workers = Annotated[int | None, typer.Option(help="Processes side by side; default two.")]
# help of the seed of a command that has several
FIRST_SEED = "First seed; it is the one drawn."

NONE = "none"


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


def with_settings(
    kind: type[Any],
    *,
    leave_out: Collection[str] = (),
    helps: Mapping[str, str] | None = None,
    repeated: Mapping[str, str] | None = None,
    presets: Mapping[str, Mapping[str, Any]] | None = None,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorator of a command whose first argument is settings: their fields become its options.

    Args:
        kind: frozen dataclass whose fields all have defaults.
        leave_out: fields that are no options and stay as they are by default.
        helps: field to its help, where it is written otherwise here than in Python.
        repeated: field that is a list to an option which is given once for each item.
        presets: name to fields that an option --preset sets, but for options that are given.

    Raises:
        UserError: when the command is called, for a value that is none of the field's.
    """
    options = {
        field.name: _option_name(field.name, repeated or {})
        for field in fields(kind)
        if field.name not in leave_out
    }
    hints, defaults = get_type_hints(kind), {field.name: field.default for field in fields(kind)}
    texts = {**attribute_helps(kind), **(helps or {})}
    forms = {
        name: _REPEATED if name in (repeated or {}) else _form(hints[name], option)
        for name, option in options.items()
    }
    declared = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=form.show(defaults[name]),
            annotation=Annotated[form.type, typer.Option(*declarations, help=texts[name])],
        )
        for name, form in forms.items()
        # typer makes "--agree" and "--no-agree" of a switch by itself
        for declarations in [() if form.type is bool else (options[name],)]
    ]

    if presets:
        help_text = f"Choices under one name: {', '.join(presets)}. Other options overrule them."
        declared = [*_preset_parameters(help_text), *declared]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
        signature = inspect.Signature([*declared, *own])

        @functools.wraps(command)
        def from_options(**values: Any) -> None:
            preset = _preset_fields(presets, values) if presets else {}
            chosen = {name: form.parse(values.pop(name)) for name, form in forms.items()}
            chosen |= preset
            command(kind(**chosen), **values)

        from_options.__signature__ = signature  # type: ignore[attr-defined]
        from_options.__annotations__ = {
            name: parameter.annotation for name, parameter in signature.parameters.items()
        }
        return from_options

    return decorate


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


def _option_name(field: str, repeated: Mapping[str, str]) -> str:
    return repeated.get(field, "--" + field.replace("_", "-"))


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
        return Form(str, _same, lambda text: parse_layers(text, option))
    return Form(hint, _same, _same)


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
        if len(ends) > 2 or not all(end.isdigit() for end in ends):
            raise UserError(f"{option} {text!r}: pass all, or numbers such as 0,3,5 or 2-4.")
        if int(ends[0]) > int(ends[-1]):
            raise UserError(f"{option} {text!r}: {part} runs backwards.")
        found += range(int(ends[0]), int(ends[-1]) + 1)
    return tuple(dict.fromkeys(found))
