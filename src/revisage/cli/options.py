"""Options: those that several commands have, and those that are made from the fields of RestoreConfig.

RestoreConfig brings pydantic: it is loaded for a command that is run, and not for one that is declared or listed.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import typer
from typer.core import TyperGroup

from revisage import core

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

__all__ = [
    "OUTPUT",
    "ClusterOption",
    "JsonOption",
    "OutputOption",
    "OverwriteOption",
    "QuietOption",
    "StoreArgument",
    "one_output",
    "option",
    "plain_by_default",
    "restore_fields",
    "scan_fields",
    "with_config_options",
    "with_options",
]

_Command = Callable[..., Any]

QuietOption = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="No progress and no summary; warnings and errors only.", rich_help_panel="Run"),
]
JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON object on stdout and nothing else there.", rich_help_panel="Run"),
]
ClusterOption = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="auto|ADDRESS",
        help="Restore on a Ray cluster: the one of this machine, ray://HOST:PORT or HOST:PORT.",
        show_default=False,
        rich_help_panel="Machine",
    ),
]
OUTPUT = ("--output", "-o")
"""How the option is called that names what a command writes, in each that has one."""

OutputOption = Annotated[
    str | None,
    typer.Option(
        *OUTPUT,
        metavar="OUTPUT",
        help="The output, where it is not named behind the input.",
        show_default=False,
        rich_help_panel="File",
    ),
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
StoreArgument = Annotated[Path, typer.Argument(metavar="STORE", help="Folder of the face store.")]


def one_output(place: str | None, named: str | None) -> str | None:
    """The output of a command that takes it both behind its input and by :data:`OutputOption`.

    Raises:
        ConfigError: it is given both ways.
    """
    if place is not None and named is not None:
        raise core.ConfigError(f"the output is named twice, {place} and --output {named}; leave one out")
    return place if named is None else named


def plain_by_default(plain: str) -> type[TyperGroup]:
    """A group of commands whose words are those of one of them, unless the first word names another."""

    class PlainByDefault(TyperGroup):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            """Put the plain command's name before words that begin with no command's."""
            if not args or args[0] not in self.commands:
                args = [plain, *(args or ["--help"])]
            return super().parse_args(ctx, args)

        def resolve_command(self, ctx: Any, args: list[str]) -> Any:
            """The command; the plain one without its name, so that its help reads as the user types it."""
            name, command, rest = super().resolve_command(ctx, args)
            return ("" if name == plain else name), command, rest

    return PlainByDefault


def restore_fields() -> tuple[str, ...]:
    """The fields of RestoreConfig: what ``restore`` can be told."""
    return tuple(core.RestoreConfig.model_fields)


def scan_fields() -> tuple[str, ...]:
    """The fields of RestoreConfig that decide which faces are found."""
    return core.fields_about("scan")


def with_config_options(fields: Callable[[], Iterable[str]]) -> Callable[[_Command], _Command]:
    """Give a command one option for each of these fields; it takes them as ``**options``, None where not given.

    Values arrive as text: RestoreConfig checks them, so that the message is the same for a config file and for Python.
    """
    return with_options(lambda: (_parameter(name, core.RestoreConfig.model_fields[name]) for name in fields()))


def with_options(more: Callable[[], Iterable[inspect.Parameter]]) -> Callable[[_Command], _Command]:
    """Give a command further options, declared elsewhere; it takes them as ``**options``.

    They are asked for when the command's signature is read, which is when the parser for it is made.
    """
    return lambda command: _Extended(command, more)


class _Extended:
    """A command whose signature has more options than its code."""

    def __init__(self, command: _Command, more: Callable[[], Iterable[inspect.Parameter]]) -> None:
        functools.update_wrapper(self, command, assigned=("__module__", "__name__", "__qualname__", "__doc__"))
        self._command, self._more = command, more

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self._command(*arguments, **options)

    @functools.cached_property
    def __signature__(self) -> inspect.Signature:
        signature = inspect.signature(self._command, eval_str=True)
        own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        return signature.replace(parameters=sorted([*own, *self._more()], key=lambda p: p.kind))

    @property
    def __annotations__(self) -> dict[str, Any]:  # type: ignore[override]
        return {p.name: p.annotation for p in self.__signature__.parameters.values()}


def option(name: str, default: Any, annotation: Any) -> inspect.Parameter:
    """An option for :func:`with_options`; ``annotation`` is as in the signature of a command."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    flag, several = field.annotation is bool, get_origin(field.annotation) is tuple
    words = name.rstrip("_").replace("_", "-")
    declared = typer.Option(
        f"--{words}/--no-{words}" if field.default is True else f"--{words}",
        help=_help(field),
        metavar=None if flag else _metavar(name, field),
        rich_help_panel=core.option_of(name).panel,
        show_default=False,
    )
    kind: Any = bool if flag else list[str] if several else str
    return option(name, None, Annotated[kind | None, declared])


def _help(field: FieldInfo) -> str:
    text = field.description or ""
    if field.default in (None, ()) or isinstance(field.default, bool):
        return text
    default = f"{field.default:g}" if isinstance(field.default, float) else field.default
    return f"{text} Default: {default}."  # in brackets it would be taken for markup, and not shown


def _metavar(name: str, field: FieldInfo) -> str:
    """``a|b|c`` for a choice, ``0..1`` for a range, else what kind of value it is."""
    stated = core.option_of(name).metavar
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
