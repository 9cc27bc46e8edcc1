"""The command line: parse, call, print."""

from __future__ import annotations

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave with its exit code: 0 done, 1 failure, 2 the user's mistake, 3 the source was
    cut short or parts of it were left as they were found, 130 stopped."""
    from revisage.core import give_back_freed_memory, put_off_collecting

    give_back_freed_memory()
    put_off_collecting()
    from revisage.cli.app import run

    raise SystemExit(run(arguments))
