"""Command-line options made from the fields of RestoreConfig: names, ranges, defaults and help stand there once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from revisage.core import RestoreConfig, fields_about, option_of

__all__ = ["RESTORE_FIELDS", "SCAN_FIELDS", "with_config_options"]

RESTORE_FIELDS = tuple(RestoreConfig.model_fields)
SCAN_FIELDS = fields_about("scan")


def with_config_options(fields: Iterable[str]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command one option for each of these fields; it takes them as ``**options``, None where not given.

    Values arrive as text: RestoreConfig checks them, so that the message is the same for a config file and for Python.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(command, eval_str=True)
        own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        made = [_parameter(name, RestoreConfig.model_fields[name]) for name in fields]
        parameters = sorted([*own, *made], key=lambda p: p.kind)
        command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        return command

    return decorate


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    flag = field.annotation is bool
    option = typer.Option(
        f"--{name.replace('_', '-')}",
        help=_help(field),
        metavar=None if flag else _metavar(name, field),
        rich_help_panel=option_of(name).panel,
        show_default=False,
    )
    kind: Any = Annotated[bool | None if flag else str | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)


def _help(field: FieldInfo) -> str:
    text = field.description or ""
    if field.default is None or field.default is False:
        return text
    default = f"{field.default:g}" if isinstance(field.default, float) else field.default
    return f"{text} [default: {default}]"


def _metavar(name: str, field: FieldInfo) -> str:
    """``a|b|c`` for a choice, ``0..1`` for a range, else what kind of value it is."""
    stated = option_of(name).metavar
    if stated is not None:
        return stated
    choices = _choices(field.annotation)
    if choices:
        return "|".join(choices)
    low, high = _limits(field)
    if low is not None and high is not None:
        return f"{low:g}..{high:g}"
    return f">={low:g}" if low is not None else "NAME"


def _choices(annotation: Any) -> tuple[str, ...]:
    return tuple(map(str, get_args(annotation))) if get_origin(annotation) is Literal else ()


def _limits(field: FieldInfo) -> tuple[float | None, float | None]:
    low = high = None
    for rule in _rules(field):
        low = getattr(rule, "ge", getattr(rule, "gt", low))
        high = getattr(rule, "le", getattr(rule, "lt", high))
    return low, high


def _rules(field: FieldInfo) -> list[Any]:
    """The field's constraints, with those that its annotated type carries."""
    inner = [arg for arg in get_args(field.annotation) if get_origin(arg) is Annotated]
    nested = [rule for arg in inner for rule in getattr(arg, "__metadata__", ())]
    return [*field.metadata, *(part for rule in nested for part in getattr(rule, "metadata", [rule]))]
