"""From arguments to an exit code: every error becomes one line on stderr."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from typing import Any

import typer

from revisage.cli.app import app
from revisage.core import CancelledError, OutputExistsError, RevisageError

__all__ = ["run"]

# The root of what the parser raises. Typer carries a parser of its own in newer versions and click's in older ones.
_USAGE_ERROR = typer.BadParameter.__mro__[1]

_STOPPED = 130


def run(arguments: list[str] | None = None) -> int:
    """Run the command line in this process.

    Args:
        arguments: without the program's name; those of the process when None.

    Returns:
        The exit code.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    _survive_narrow_encodings()
    try:
        code = _parsed([word for word in given if word != "--debug"])
        return _stopped(arguments is None) if code == _STOPPED else code
    except (KeyboardInterrupt, typer.Abort, CancelledError):
        return _stopped(arguments is None)
    except OutputExistsError as error:
        return _failed(error.told("use --overwrite"), error.exit_code, debug)
    except RevisageError as error:
        return _failed(str(error), error.exit_code, debug)
    except BrokenPipeError:
        _detach_stdout()
        return 1
    except Exception as error:
        if isinstance(error, _USAGE_ERROR):
            return _misused(error)
        hint = "" if debug else " (--debug shows where)"
        return _failed(f"{type(error).__name__}: {error}{hint}", 1, debug)


def _parsed(words: list[str]) -> int:
    """Run the command that the words ask for."""
    try:
        code = app(words, prog_name="revisage", standalone_mode=False)
    except typer.Exit as leave:
        return leave.exit_code
    return code if isinstance(code, int) else 0


def _misused(error: Any) -> int:
    """What the parser did not like, and where the right words stand. Words that end at a group's name gave its help."""
    problem = error.format_message()
    if not problem:
        return 0
    command = "revisage" if error.ctx is None else error.ctx.command_path.strip()
    return _failed(f"{problem.removesuffix('.')}; see: {command} --help", 2, debug=False)


def _failed(message: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    _say(f"error: {message}")
    return code


def _say(message: str) -> None:
    with contextlib.suppress(OSError):
        print(f"revisage: {' '.join(message.split())}", file=sys.stderr, flush=True)  # noqa: T201 - the one line


def _stopped(own_process: bool) -> int:
    """Say that the user stopped the work, and leave with 130; at once in a process of our own: a network in the
    middle of a batch cannot be interrupted, and the interpreter would wait for it, or crash under it, on its way out.
    All files are closed and removed by now."""
    _say("stopped; nothing partial was left behind")
    if own_process:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(_STOPPED)
    return _STOPPED


def _survive_narrow_encodings() -> None:
    """A Windows console may not know a character of a file's name: show a question mark, do not fail."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def _detach_stdout() -> None:
    """Whoever read stdout is gone; the flush at exit must not fail again."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
