"""``revisage batch``: restore many files, with a journal, and go on where an earlier run was stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import revisage
from revisage.cli.options import RESTORE_FIELDS, JsonOption, QuietOption, with_config_options
from revisage.cli.show import as_option, batch_bar, print_lines, print_table, warn

if TYPE_CHECKING:
    from revisage.pipeline import BatchReport

__all__ = ["batch"]

_OF_ONE_FILE = {"report", "compare"}


@with_config_options(name for name in RESTORE_FIELDS if name not in _OF_ONE_FILE)
def batch(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the outputs.")],
    inputs: Annotated[
        list[str] | None, typer.Argument(metavar="INPUTS...", help="Files, folders and patterns.", show_default=False)
    ] = None,
    listed: Annotated[
        Path | None,
        typer.Option("--list", metavar="FILE", help="A text file with an input on each line.", show_default=False),
    ] = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Search folders to their depth.")] = False,
    jobs: Annotated[int, typer.Option("--jobs", "-j", metavar="N", help="Files at work at once.")] = 1,
    retry: Annotated[int, typer.Option("--retry", metavar="N", help="Try a file that failed so often again.")] = 0,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="Take options from a JSON file. Options win.")
    ] = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    **options: Any,
) -> int:
    """Restore many files into a folder, keeping their tree; what an earlier run finished is skipped.

    A file that cannot be restored does not stop the others. DIR/batch.jsonl says line by line what was begun and what
    became of it, DIR/batch.html is a page about all of it.
    """
    with batch_bar(quiet) as (progress, on_entry):
        report = revisage.batch(
            inputs or (),
            out,
            listed=listed,
            config=config,
            recursive=recursive,
            jobs=jobs,
            retry=retry,
            progress=progress,
            on_entry=on_entry,
            **options,
        )
    for entry in report.entries:
        for text in entry.report.warnings:
            warn(f"warning: {entry.source}: {text}")
        if entry.state == "failed":
            warn(f"error: {as_option(str(entry.report.error))}")
    if as_json:
        print_lines([json.dumps(report.to_json(), indent=2)])
    elif not quiet:
        _print_summary(report, out)
    return report.exit_code


def _print_summary(report: BatchReport, folder: Path) -> None:
    print_table(("file", "", "frames", "faces", "seconds", ""), report.rows(folder))
    restored, skipped, failed = (report.count(state) for state in ("restored", "skipped", "failed"))
    print_lines([f"{restored} restored, {skipped} done before, {failed} failed"])
