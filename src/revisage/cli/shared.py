"""Options that several commands have, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

__all__ = ["JsonOption", "OverwriteOption", "QuietOption", "StoreArgument", "plain_by_default"]

QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress and no summary; warnings and errors only.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
StoreArgument = Annotated[Path, typer.Argument(metavar="STORE", help="Folder of the face store.")]


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
