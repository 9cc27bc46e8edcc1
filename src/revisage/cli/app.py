"""The commands of everyday, and from arguments to an exit code: every error becomes one line on stderr.

Rooms are named at the top and loaded when a command calls into them, so that ``--help`` is quick.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import revisage
from revisage import media, people
from revisage._version import __version__
from revisage.cli.help_renderer import load_help_renderer
from revisage.cli.options import (
    OUTPUT,
    ClusterOption,
    JsonOption,
    OutputOption,
    QuietOption,
    one_output,
    restore_fields,
    scan_fields,
    with_config_options,
)
from revisage.cli.show import as_option, batch_bar, counted, print_lines, print_table, progress_bar, report_lines, warn
from revisage.core import (
    CancelledError,
    ConfigError,
    InputError,
    MissingExtraError,
    OutputError,
    OutputExistsError,
    RevisageError,
    check_file,
    check_folder,
    write_text,
)

if TYPE_CHECKING:
    from revisage.people import Analysis
    from revisage.pipeline import BatchReport

__all__ = ["make_app", "run"]

_everyday = typer.Typer()
"""Holds the commands of this module."""

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Take options from a JSON file; a report will do. Options win.",
        rich_help_panel="Run",
    ),
]

_PARTLY = 3
_OF_ONE_FILE = {"report", "compare", "profile"}


def _version(wanted: bool) -> None:
    if wanted:
        print_lines([f"revisage {__version__}"])
        raise typer.Exit


def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
) -> None:
    """Options of all commands."""


def _no_options() -> None: ...


@_everyday.command()
@with_config_options(restore_fields)
def restore(
    input: Annotated[  # noqa: A002
        str, typer.Argument(metavar="INPUT", help="A video, GIF, APNG, WebP or photo; a folder or pattern of them.")
    ],
    output: Annotated[
        str | None,
        typer.Argument(metavar="[OUTPUT]", help="By default NAME_restored.EXT beside the input.", show_default=False),
    ] = None,
    scan: Annotated[
        Path | None,
        typer.Option(
            "--scan",
            metavar="FILE",
            help="Restore the faces of this scan.",
            show_default=False,
            rich_help_panel="Faces",
        ),
    ] = None,
    named_output: OutputOption = None,
    buffer: Annotated[
        bool,
        typer.Option(
            "--buffer",
            help="From pipe to pipe (- -): keep the video on the disk first, and look ahead.",
            rich_help_panel="File",
        ),
    ] = False,
    cluster: ClusterOption = None,
    config: Config = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    **options: Any,
) -> int:
    """Restore the faces of a video, an animated image or a photo.

    \b
    revisage restore tape.mp4                        makes tape_restored.mp4
    revisage restore album/ better/ --strength 0.8   every file of a folder, less strongly
    ffmpeg ... -f nut - | revisage restore - - | ...  from pipe to pipe, as it comes
    """
    output = one_output(output, named_output)
    if "-" in (input, output):
        _refuse_for_pipes(output, scan=scan, cluster=cluster, as_json=as_json)
        return _restore_pipe(input, output, buffer, config, as_json, options)
    with progress_bar(quiet) as progress:
        report = revisage.restore(
            input, output, config=config, scan=scan, progress=progress, cluster=cluster, **options
        )
    for text in report.warnings:
        warn(f"warning: {text}")
    for entry in report.failed:
        warn(f"error: {as_option(str(entry.error))}")
    if as_json:
        print_lines([report.to_json().rstrip()])
    elif not quiet:
        print_lines(report_lines(report))
    if report.failed:
        return 2 if all(entry.error_code == 2 for entry in report.failed) else 1
    return _PARTLY if report.partly and not report.dry_run else 0


def _restore_pipe(
    input: str,  # noqa: A002
    output: str | None,
    buffer: bool,
    config: Path | None,
    as_json: bool,
    options: dict[str, Any],
) -> int:
    from revisage.live_stream import restore_pipe  # it brings numpy

    done = restore_pipe(input, output, buffer=buffer, config=config, **options)
    for text in done.problems:
        warn(f"warning: {text}")
    if as_json and done.report is not None:
        print_lines([done.report.to_json().rstrip()])
    return _PARTLY if done.partly else 0


def _refuse_for_pipes(output: str | None, *, scan: Path | None, cluster: str | None, as_json: bool) -> None:
    """Refuse what does not go together with an end that is a pipe."""
    if scan is not None or cluster is not None:
        raise ConfigError(f"--{'scan' if scan is not None else 'cluster'} is for files; leave it out, or name a file")
    if output not in (None, "-"):
        return
    if as_json:
        raise ConfigError("--json prints on stdout, where the video goes; leave it out, or name an output file")
    if sys.stdout is not None and sys.stdout.isatty():
        raise OutputError(
            "the video would go to this terminal; name an output, or pipe it on: revisage restore - - | ..."
        )


@_everyday.command()
@with_config_options(lambda: (name for name in restore_fields() if name not in _OF_ONE_FILE))
def batch(
    out: Annotated[str, typer.Option(*OUTPUT, "--out", metavar="DIR", help="Folder for the outputs, or its address.")],
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
    cluster: ClusterOption = None,
    config: Config = None,
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
            cluster=cluster,
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
        _print_summary(report, media.as_path(out))
    return report.exit_code


def _print_summary(report: BatchReport, folder: Path) -> None:
    print_table(("file", "", "frames", "faces", "seconds", ""), report.rows(folder))
    restored, skipped, failed = (report.count(state) for state in ("restored", "skipped", "failed"))
    print_lines([f"{restored} restored, {skipped} done before, {failed} failed"])


@_everyday.command()
@with_config_options(scan_fields)
def scan(
    input: Annotated[str, typer.Argument(metavar="INPUT", help="A video, an animated image or a photo.")],  # noqa: A002
    output: Annotated[
        Path | None,
        typer.Option(*OUTPUT, metavar="FILE", help="By default NAME.scan.json beside the input."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing scan.")] = False,
    config: Config = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    **options: Any,
) -> int:
    """Find the faces and write them to a file that you can look at, edit, and hand to restore --scan.

    Delete a track to leave that face alone, or set its "strength" (0 to 1).
    """

    target = output or _beside(input, "scan.json")
    check_file(target, overwrite=overwrite)
    with progress_bar(quiet) as progress:
        found = revisage.scan(input, config=config, progress=progress, **options)
    found.save(target, overwrite=overwrite)
    for text in found.warnings:
        warn(f"warning: {text}")
    if as_json:
        print_lines([found.to_json().rstrip()])
    elif not quiet:
        counts = ((found.frames, "frame"), (len(found.shots), "shot"), (len(found.tracks), "face track"))
        print_lines([str(target), f"  {', '.join(counted(number, noun) for number, noun in counts)}"])
    return _PARTLY if found.truncated else 0


def _beside(source: str, ending: str) -> Path:
    """``NAME.ending`` beside the input; here where that is an address."""
    path = media.as_path(source)
    if not media.is_address(source) and path.is_dir():  # "." has no name to put another beside
        raise InputError(f"{path} is a folder; name a file in it")
    name = f"{path.stem}.{ending}"
    return Path(name) if media.is_address(source) else path.with_name(name)


@_everyday.command()
@with_config_options(lambda: (*scan_fields(), "who", "reader"))
def analyze(
    input: Annotated[str, typer.Argument(metavar="INPUT", help="A video, an animated image or a photo.")],  # noqa: A002
    output: Annotated[
        list[Path] | None,
        typer.Option(
            *OUTPUT,
            metavar="FILE",
            help="A .html, .json, .csv or .vtt file; may be repeated. By default NAME.people with each of these.",
        ),
    ] = None,
    scan: Annotated[
        Path | None, typer.Option("--scan", metavar="FILE", help="Take the faces of this scan.", show_default=False)
    ] = None,
    save_scan: Annotated[
        Path | None,
        typer.Option(
            "--save-scan",
            metavar="FILE",
            help="File for the scan with the people in it, for restore --scan with --only or --except.",
            show_default=False,
        ),
    ] = None,
    every: Annotated[float, typer.Option("--every", metavar="SECONDS", help="Time between two looks at a face.")] = 0.2,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")] = False,
    config: Config = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    **options: Any,
) -> int:
    """Tell who is in view when, how heads are held, and what faces show.

    \b
    revisage analyze film.mp4                                   person 1, person 2, ...
    revisage analyze film.mp4 --who Ann=ann.jpg --who Bob=b.jpg
    """
    texts: dict[str, Callable[[Analysis], str]] = {
        ".html": people.analysis_page,
        ".json": lambda found: found.to_json(),
        ".csv": lambda found: found.to_csv(),
        ".vtt": lambda found: found.to_vtt(),
    }
    targets = output or [_beside(input, f"people{suffix}") for suffix in texts]
    for target in targets:
        if target.suffix.lower() not in texts:
            raise OutputError(f"{target} has another ending than {', '.join(texts)}: these can be written")
        check_file(target, overwrite=overwrite)
    if save_scan is not None:
        check_file(save_scan, overwrite=overwrite)
    with progress_bar(quiet) as progress:
        found, told = revisage.analyze(input, scan=scan, every=every, config=config, progress=progress, **options)
    for target in targets:
        write_text(target, texts[target.suffix.lower()](found), overwrite=overwrite)
    if save_scan is not None:
        told.save(save_scan, overwrite=overwrite)
    for text in (*told.warnings, *found.notes):
        warn(f"warning: {text}")
    if as_json:
        print_lines([found.to_json().rstrip()])
    elif not quiet:
        print_lines([*map(str, (*targets, *([save_scan] if save_scan else [])))])
        rows = [(p.label, f"{p.seconds:.1f} s", len(p.appearances)) for p in found.people]
        if rows:
            print_table(("who", "in view", "times"), rows)
        else:
            print_lines(["nobody was found"])
    return _PARTLY if told.truncated else 0


@_everyday.command()
def probe(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A video, an animated image or a photo.")],
    as_json: JsonOption = False,
) -> None:
    """Tell what a file holds."""
    found = revisage.probe(file).to_json()
    if as_json:
        print_lines([json.dumps(found, indent=2)])
    else:
        rows = [(name, _short(value)) for name, value in found.items() if value not in (None, [], {}, "")]
        print_table(("what", "value"), rows)


@_everyday.command()
def verify(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Videos, animated images or photos.")],
    trust_anchors: Annotated[
        Path | None,
        typer.Option("--trust-anchors", metavar="CERTS.pem", help="Who may vouch for signers of C2PA manifests."),
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Tell what files say of faces that were restored in them: labels, C2PA manifests. Exit code 1: at least one says
    nothing, or its manifest is not valid.

    A label can be taken out, and anybody can write one: it informs, it proves nothing.
    """
    found = {str(file): revisage.verify(file, trust_anchors=trust_anchors) for file in files}
    if as_json:
        print_lines([json.dumps({name: said.model_dump(mode="json") for name, said in found.items()}, indent=2)])
    else:
        print_lines(f"{name}: {line}" for name, said in found.items() for line in said.lines())
    return 0 if all(said.sound for said in found.values()) else 1


def _short(value: Any) -> str:
    if isinstance(value, list):
        return "; ".join(_short(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items() if item not in (None, "", []))
    return str(value)


@_everyday.command()
def demo(
    folder: Annotated[Path, typer.Option(*OUTPUT, metavar="DIR", help="Where the results go.")] = Path("revisage_demo"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the results of an earlier demo.")] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make a short damaged clip of a talking face, restore it, and say what changed. Needs no network."""
    from revisage.demo import run_demo

    check_folder(folder)
    if folder.exists() and any(folder.iterdir()) and not overwrite:
        raise OutputError(f"{folder} is not empty; use --overwrite, or name another folder with --output")
    with progress_bar(quiet) as progress:
        result = run_demo(folder, progress=progress)
    if as_json:
        print_lines([json.dumps(result.to_json(), indent=2)])
    elif not quiet:
        print_lines(result.lines())


_ELSEWHERE = {
    "ui": ("serve", "ui"),
    "serve": ("serve", "serve"),
    "worker": ("serve", "worker"),
    "token": ("serve", "token_app"),
    "live": ("live", "live"),
    "presets": ("presets", "presets"),
    "models": ("models", "models_app"),
    "export": ("models", "export"),
    "train": ("train", "train_app"),
    "dataset": ("dataset", "dataset_app"),
    "evaluate": ("evaluate", "evaluate_app"),
    "store": ("store", "store_app"),
}
"""Commands, and groups of them, of other modules: module, name in it."""


_EXTRAS = {"serve": "service", "worker": "service", "token": "service", "train": "train", "export": "export"}
"""Commands that are nothing without an extra. What others need for some of their options says so itself."""


def make_app(words: Sequence[str] | None = None) -> typer.Typer:
    """The command line for these words: the one command that they begin with, or where they begin with none a list
    of all, by name and purpose alone. Without words: all of it.

    To load and build what is not asked for takes tenths of a second, which every run would wait for.
    """
    first = words[0] if words else ""
    # Only for options before the command: to read even their defaults takes pydantic, in newer versions of Typer.
    before = not first or first.startswith("-")
    app = typer.Typer(
        name="revisage",
        help="Restore the faces in videos, GIFs and photos with GFP-GAN, and leave everything else as it was.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": list(_HELP)},
        add_help_option=before,
    )
    app.callback()(_main if before else _no_options)
    here = {info.callback.__name__: info.callback for info in _everyday.registered_commands if info.callback}
    names = (*here, *_ELSEWHERE)
    built = words is None or first in names
    for name in [first] if first in names else names:
        found = here[name] if name in here else _load(name)
        _add(app, name, found if built else _heading(found))
    return app


def _load(name: str) -> Any:
    module, attribute = _ELSEWHERE[name]
    return getattr(importlib.import_module(f"revisage.cli.{module}"), attribute)


def _add(app: typer.Typer, name: str, found: Any) -> None:
    if isinstance(found, typer.Typer):
        app.add_typer(found, name=name)
    else:
        app.command(name)(found)


def _heading(found: Any) -> Any:
    """What a list shows of a command or a group: there is no option and no command in it."""
    if isinstance(found, typer.Typer):
        return typer.Typer(help=found.info.help)

    def command() -> None: ...

    command.__doc__ = found.__doc__
    return command


_USAGE_ERROR = typer.BadParameter.__mro__[1]
"""The root of what the parser raises: Typer carries a parser of its own in newer versions and click's in older ones."""

_STOPPED = 130
_HELP = ("-h", "--help")


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
    words = [word for word in given if word != "--debug"]
    words = words[1:] if words[:1] == ["--"] else words
    try:
        code = _parsed(words)
        return _stopped(arguments is None) if code == _STOPPED else code
    except (KeyboardInterrupt, typer.Abort, CancelledError) as stop:
        return _stopped(arguments is None, str(stop))
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
        if isinstance(error, ModuleNotFoundError) and words[0] in _EXTRAS:
            missing = MissingExtraError(f"revisage {words[0]}", _EXTRAS[words[0]])
            return _failed(str(missing), missing.exit_code, debug)
        hint = "" if debug else " (--debug shows where)"
        return _failed(f"{type(error).__name__}: {error}{hint}", 1, debug)


def _parsed(words: list[str]) -> int:
    """Run the command that the words ask for."""
    if not words or set(_HELP) & set(words):
        load_help_renderer()
    try:
        code = make_app(words)(words, prog_name="revisage", standalone_mode=False)
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


def _stopped(own_process: bool, text: str = "") -> int:
    """Say that the user stopped the work, and leave with 130; at once in a process of our own: a network in the
    middle of a batch cannot be interrupted, and the interpreter would wait for it, or crash under it, on its way out.
    All files are closed and removed by now."""
    # What became of the work stands behind the first word, where a run has said it.
    _say(f"stopped; {text.partition('; ')[2] or 'nothing partial was left behind'}")
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
