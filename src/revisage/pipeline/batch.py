"""Restore many files: each for itself, so that a bad one stops nothing, and what is done is not done again.

A journal beside the outputs says line by line (JSON) what was begun and what became of it. An output appears under its
name when it is complete, so one that is there, and was begun from the same input with the same options, is done,
whatever happened to the run that made it.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from html import escape
from pathlib import Path
from typing import Any, Literal, Protocol

from revisage import media
from revisage.core import (
    CancelledError,
    CancelToken,
    ConfigError,
    InputError,
    OutputError,
    OutputExistsError,
    ProcessingError,
    Progress,
    ProgressCallback,
    RestoreConfig,
    RevisageError,
    UserError,
    format_seconds,
    output_error,
    parse_json,
    write_text,
)
from revisage.pipeline import FileReport, Networks, restore_file
from revisage.pipeline.work_folder import notes_folder, tidy

__all__ = [
    "JOURNAL",
    "BatchEntry",
    "BatchReport",
    "FileRunner",
    "Outcome",
    "batch_files",
    "read_list",
    "run_batch",
    "save_summary",
]

JOURNAL, SUMMARY = "batch.jsonl", "batch.html"
State = Literal["restored", "skipped", "failed"]
RestoreOne = Callable[[Path, Path], FileReport]
Outcome = tuple[Path, FileReport | RevisageError, float]
"""A source, what became of it, and the seconds that it took."""

_POLL = 0.2
"""Seconds between looks at whether a stop was asked for while another process works."""


class FileRunner(Protocol):
    """Restores whole files somewhere else, several at once."""

    def restore_files(
        self,
        files: Iterable[tuple[Path, Path]],
        config: RestoreConfig,
        *,
        cancel: CancelToken,
        progress: ProgressCallback | None,
    ) -> Iterator[Outcome]:
        """Restore each source to its target, in any order; a file's own error is yielded and stops no other.

        Raises:
            RevisageError: nothing can be restored there.
            CancelledError: a stop was asked for.
        """
        ...


@dataclass(frozen=True)
class BatchEntry:
    """What became of one file.

    Attributes:
        source, target: the input, and where its output lies or would lie.
        state: ``restored``; ``skipped``, as it was done before; or ``failed``.
        report: what was done; it holds the error of a file that failed.
        attempts: how often it was tried.
        seconds: that it took, all attempts together.
    """

    source: Path
    target: Path
    state: State
    report: FileReport
    attempts: int = 1
    seconds: float = 0.0

    def record(self) -> dict[str, Any]:
        """The line of the journal."""
        found = {"event": self.state, "source": str(self.source), "target": str(self.target)}
        if self.state == "skipped":
            return found
        told = {"attempts": self.attempts, "seconds": round(self.seconds, 2)}
        if self.state == "failed":
            return {**found, **told, "error": self.report.error, "code": self.report.error_code}
        counts = {"frames": self.report.frames, "faces": self.report.faces.restored}
        return {**found, **told, **counts, "truncated": self.report.truncated}


@dataclass
class BatchReport:
    """What became of all files, in the order in which they were finished.

    Attributes:
        entries: one for each file.
        seconds: that the whole took.
    """

    entries: list[BatchEntry] = field(default_factory=list)
    seconds: float = 0.0

    def count(self, state: State) -> int:
        """How many files came to this."""
        return sum(entry.state == state for entry in self.entries)

    @property
    def exit_code(self) -> int:
        """0; 2 where all that failed did so by the user's mistake, 1 where others failed, 3 where sources broke off or
        parts were left as they were found."""
        failed = [entry.report.error_code for entry in self.entries if entry.state == "failed"]
        if failed:
            return 2 if all(code == UserError.exit_code for code in failed) else 1
        return 3 if any(entry.report.truncated or entry.report.segments_left for entry in self.entries) else 0

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        states: tuple[State, ...] = ("restored", "skipped", "failed")
        counts: dict[str, Any] = {state: self.count(state) for state in states}
        return {**counts, "seconds": round(self.seconds, 2), "files": [entry.record() for entry in self.entries]}

    def rows(self, folder: Path) -> Iterator[tuple[str, ...]]:
        """For each file: name, state, frames, faces, seconds, and what there is to say; failures last."""
        for entry in sorted(self.entries, key=lambda entry: (entry.state == "failed", str(entry.target))):
            report = entry.report
            name = str(entry.target.relative_to(folder)) if entry.target.is_relative_to(folder) else str(entry.target)
            counts = (str(report.frames), str(report.faces.restored), f"{entry.seconds:.1f}")
            told = report.error or ("source broke off" if report.truncated else "")
            yield name, entry.state, *(counts if entry.state == "restored" else ("", "", "")), told

    def html(self, folder: Path) -> str:
        """A page of its own, without anything from elsewhere."""
        header = "".join(f"<th>{name}" for name in ("file", "", "frames", "faces", "seconds", ""))
        rows = "\n".join(
            f"<tr class={row[1]}>" + "".join(f"<td>{escape(cell)}" for cell in row) for row in self.rows(folder)
        )
        told = f"{self.count('restored')} restored, {self.count('skipped')} done before, {self.count('failed')} failed"
        title = escape(f"{folder.resolve().name or folder}: {told}")
        return _PAGE.format(title=title, time=format_seconds(self.seconds), header=header, rows=rows)


_PAGE = """<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>
<meta name=viewport content="width=device-width">
<style>body{{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}}
table{{border-collapse:collapse;width:100%}}td,th{{text-align:left;padding:.25rem .75rem;border-bottom:1px solid #ddd}}
td:nth-child(n+3):nth-child(-n+5){{text-align:right;font-variant-numeric:tabular-nums}}.skipped{{color:#666}}
.failed td:nth-child(2){{color:#b00020;font-weight:600}}</style>
<h1>{title}</h1><p>{time}</p><table><thead><tr>{header}<tbody>
{rows}</table></html>
"""


def read_list(path: Path) -> list[str]:
    """The names in a text file, one to a line; empty lines and those that begin with ``#`` are left out. A relative
    name starts at the list's folder.

    Raises:
        InputError: the list cannot be read, or names nothing.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no list of files: {getattr(error, 'strerror', None) or error}") from None
    names = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not names:
        raise InputError(f"{path} names no file")
    return [name if media.is_address(name) else str(path.parent / name) for name in names]


def batch_files(
    inputs: Sequence[str | Path], folder: Path, *, recursive: bool = False, suffix: str = "", ext: str | None = None
) -> dict[Path, Path]:
    """Each input file with its output below a folder, in the order given; trees keep their shape.

    Args:
        inputs: files, folders and glob patterns.
        folder: for the outputs; what lies in it is no input.
        recursive: look into folders to their depth.
        suffix: of the outputs' names, before the ending.
        ext: their ending, instead of the input's.

    Raises:
        InputError: one does not exist or holds nothing that can be restored.
        OutputError: two inputs would have one output, or the folder is an input's own.
    """
    outputs: dict[Path, Path] = {}
    for source in inputs:
        outputs |= media.find_media(source, recursive=recursive, leave_out=folder).outputs(
            folder, suffix=suffix, ext=ext
        )
    sources: dict[Path, Path] = {}
    for source, target in outputs.items():
        other = sources.setdefault(target, source)
        if other.resolve() != source.resolve():
            raise OutputError(f"{other} and {source} would both become {target}; do them in batches of their own")
    return {source: target for target, source in sources.items()}


def run_batch(
    files: Mapping[Path, Path],
    config: RestoreConfig,
    restore: RestoreOne,
    *,
    jobs: int = 1,
    retry: int = 0,
    journal: Path | None = None,
    progress: ProgressCallback | None = None,
    on_entry: Callable[[BatchEntry, int, int], None] | None = None,
    cancel: CancelToken | None = None,
    elsewhere: FileRunner | None = None,
) -> BatchReport:
    """Restore files, one for itself and the next, or several at once in processes of their own.

    Args:
        files: inputs with their outputs.
        config: what to do.
        restore: restores one file in this process; not used with more than one job.
        jobs: files at work at once.
        retry: how often a file is tried again whose restoration failed; a user's mistake is not tried again.
        journal: JSON lines about each file, added to what is there; outputs that it knows as done are skipped.
        progress: told of each frame.
        on_entry: told of each file that is finished, how many are, and of how many.
        cancel: stops the work.
        elsewhere: restores the files instead of this process and others of its machine.

    Raises:
        CancelledError: stopped through ``cancel``; what is finished stays, and is skipped by the next run.
        ConfigError: no job, or less than no retry.
        OutputError: the journal cannot be written.
    """
    if jobs < 1 or retry < 0:
        raise ConfigError(f"jobs must be 1 or more and retry 0 or more, got {jobs} and {retry}")
    started, cancel = time.monotonic(), cancel or CancelToken()
    book = _Journal(journal, config)
    report = BatchReport()

    def finished(entry: BatchEntry) -> None:
        report.entries.append(entry)
        book.write(entry.record())
        if on_entry is not None:
            on_entry(entry, len(report.entries), len(files))

    waiting: dict[Path, Path] = {}
    for source, target in files.items():
        state = book.state_of(source, target)
        if state == "new":
            waiting[source] = target
        else:
            finished(_not_begun(source, target, config, done=state == "done"))
    if elsewhere is not None:
        _run_elsewhere(waiting, elsewhere, config, book, retry, finished, cancel, progress)
    elif jobs == 1 or len(waiting) < 2:
        for source, target in waiting.items():
            cancel.check()
            finished(_tried(source, target, restore, config, book, retry))
    else:
        with _workers(min(jobs, len(waiting)), config, progress, cancel) as restore_elsewhere:
            attempt = partial(_tried, restore=restore_elsewhere, config=config, book=book, retry=retry)
            _run_side_by_side(waiting, attempt, min(jobs, len(waiting)), finished, cancel)
    report.seconds = time.monotonic() - started
    return report


def _not_begun(source: Path, target: Path, config: RestoreConfig, *, done: bool) -> BatchEntry:
    """The entry of a file whose output is there already."""
    if done:
        tidy(target, config.work_dir, done=not config.keep_work)
        return BatchEntry(source, target, "skipped", FileReport(input={"path": str(source)}), 0)
    problem = OutputExistsError(f"{target} exists, made from another input, with other options, or by others")
    failed = FileReport(input={"path": str(source)}, error=str(problem), error_code=problem.exit_code)
    return BatchEntry(source, target, "failed", failed, 0)


def _tried(
    source: Path, target: Path, restore: RestoreOne, config: RestoreConfig, book: _Journal, retry: int
) -> BatchEntry:
    """Restore one file, again where it failed by no mistake of the user's."""
    started, attempt = time.monotonic(), 1
    found = _once(source, target, restore, config, book)
    while isinstance(found, RevisageError) and found.exit_code != UserError.exit_code and attempt <= retry:
        attempt += 1
        found = _once(source, target, restore, config, book)
    seconds = time.monotonic() - started
    if isinstance(found, FileReport):
        return BatchEntry(source, target, "restored", found, attempt, seconds)
    failed = FileReport(input={"path": str(source)}, error=str(found), error_code=found.exit_code)
    return BatchEntry(source, target, "failed", failed, attempt, seconds)


def _once(
    source: Path, target: Path, restore: RestoreOne, config: RestoreConfig, book: _Journal
) -> FileReport | RevisageError:
    try:
        if not config.dry_run:
            book.begin(source, target)
            if not media.is_address(target):
                target.parent.mkdir(parents=True, exist_ok=True)
        return restore(source, target)
    except CancelledError:
        raise
    except Exception as error:
        return _as_ours(error, source, target)


def _as_ours(error: Exception, source: Path, target: Path) -> RevisageError:
    """Whatever stops one file must not stop the others: each error gets a line of its own."""
    if isinstance(error, RevisageError):
        return error
    if isinstance(error, OSError):
        return output_error(target, error)
    return ProcessingError(f"{source}: {type(error).__name__}: {' '.join(str(error).split())}")


class _Journal:
    """What was begun and what became of it, line by line; nothing is kept of a dry run."""

    def __init__(self, path: Path | None, config: RestoreConfig) -> None:
        self._path = None if config.dry_run else path
        self._overwrite = config.overwrite
        settings = json.dumps(config.settings(), sort_keys=True)
        self._settings = hashlib.sha256(settings.encode()).hexdigest()[:16]
        self._lock = threading.Lock()
        self._begun = self._read()

    def state_of(self, source: Path, target: Path) -> Literal["new", "done", "foreign"]:
        """Whether a file is to be restored, was restored before, or would replace what is not known as its own."""
        if self._path is None or self._overwrite or not target.exists():
            return "new"
        begun = self._begun.get(str(target))
        return "done" if begun is not None and begun == self._stamp(source) else "foreign"

    def begin(self, source: Path, target: Path) -> None:
        """Note what an output is going to be made from, before it is."""
        if self._path is not None:
            self.write({"event": "begun", "source": str(source), "target": str(target), "from": self._stamp(source)})

    def write(self, record: Mapping[str, Any]) -> None:
        """Append a line, which is on the disk when this returns to the caller."""
        if self._path is None:
            return
        line = json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **record})
        try:
            with self._lock:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with self._path.open("a", encoding="utf-8") as stream:
                    # A run that was killed may have left half a line.
                    stream.write(f"{line}\n" if self._ends_well() else f"\n{line}\n")
        except OSError as error:
            raise output_error(self._path, error) from error

    def _ends_well(self) -> bool:
        assert self._path is not None
        with self._path.open("rb") as stream:
            if not stream.seek(0, os.SEEK_END):
                return True
            stream.seek(-1, os.SEEK_END)
            return stream.read() == b"\n"

    def _stamp(self, source: Path) -> list[Any]:
        """What an output follows from: the input as it is now, and the options."""
        try:
            status = source.stat()
        except OSError:
            return []
        return [str(source.resolve()), status.st_size, status.st_mtime_ns, self._settings]

    def _read(self) -> dict[str, list[Any]]:
        """For each output what it was last begun from."""
        if self._path is None or not self._path.is_file():
            return {}
        begun: dict[str, list[Any]] = {}
        for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                record = parse_json(line)
            except ValueError:
                continue
            if isinstance(record, dict) and record.get("event") == "begun" and isinstance(record.get("from"), list):
                begun[str(record.get("target"))] = record["from"]
        return begun


def save_summary(report: BatchReport, folder: Path) -> Path:
    """Write the page about a batch into the folder of its outputs.

    Raises:
        OutputError: it cannot be written.
    """
    notes = notes_folder(folder)
    write_text(notes / SUMMARY, report.html(folder), overwrite=True)
    if media.is_address(folder):
        for name in (JOURNAL, SUMMARY):
            media.upload(notes / name, folder / name)
    return folder / SUMMARY


def _run_elsewhere(
    files: Mapping[Path, Path],
    runner: FileRunner,
    config: RestoreConfig,
    book: _Journal,
    retry: int,
    finished: Callable[[BatchEntry], None],
    cancel: CancelToken,
    progress: ProgressCallback | None,
) -> None:
    """Have files restored somewhere else; those that failed by no mistake of the user's once all others are done."""
    by_source = {source.absolute(): (source, target) for source, target in files.items()}
    waiting = list(files.items())
    for attempt in range(1, retry + 2):
        failed = []
        for source, target in waiting:
            book.begin(source, target)
        for where, found, seconds in runner.restore_files(waiting, config, cancel=cancel, progress=progress):
            source, target = by_source[where]
            if isinstance(found, FileReport):
                finished(BatchEntry(source, target, "restored", found, attempt, seconds))
            elif found.exit_code == UserError.exit_code or attempt > retry:
                report = FileReport(input={"path": str(source)}, error=str(found), error_code=found.exit_code)
                finished(BatchEntry(source, target, "failed", report, attempt, seconds))
            else:
                failed.append((source, target))
        waiting = failed


def _run_side_by_side(
    files: Mapping[Path, Path],
    attempt: Callable[[Path, Path], BatchEntry],
    jobs: int,
    finished: Callable[[BatchEntry], None],
    cancel: CancelToken,
) -> None:
    """Hand files to threads, each of which has a process that works for it."""
    with concurrent.futures.ThreadPoolExecutor(jobs, thread_name_prefix="batch") as pool:
        running = [pool.submit(attempt, source, target) for source, target in files.items()]
        try:
            for done in concurrent.futures.as_completed(running):
                finished(done.result())
        except BaseException:
            cancel.cancel()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def _workers(
    jobs: int, config: RestoreConfig, progress: ProgressCallback | None, cancel: CancelToken
) -> Iterator[RestoreOne]:
    """A function that restores one file in a process that belongs to the calling thread."""
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    news = context.Queue() if progress is not None else None
    threads = max(1, (os.cpu_count() or 1) // jobs)
    own = threading.local()
    pools: list[concurrent.futures.ProcessPoolExecutor] = []
    listener = threading.Thread(target=_pass_on, args=(news, progress), name="batch progress", daemon=True)
    listener.start()

    def fresh() -> concurrent.futures.ProcessPoolExecutor:
        own.pool = concurrent.futures.ProcessPoolExecutor(
            1, mp_context=context, initializer=_begin_work, initargs=(config, news, stop, threads)
        )
        pools.append(own.pool)
        return own.pool

    def restore(source: Path, target: Path) -> FileReport:
        cancel.check()
        work = getattr(own, "pool", None) or fresh()
        running = work.submit(_restore_here, source, target)
        while not concurrent.futures.wait([running], timeout=_POLL).done:
            if cancel.cancelled:
                stop.set()
        try:
            return _answer(running.result())
        except BrokenProcessPool:
            own.pool = None
            raise ProcessingError(f"{source}: the process that worked on it died (out of memory?)") from None

    try:
        yield restore
    finally:
        stop.set()
        for pool in pools:
            pool.shutdown(wait=True, cancel_futures=True)
        if news is not None:
            news.put(None)
        listener.join(timeout=5)


def _pass_on(news: Any, progress: ProgressCallback | None) -> None:
    """Tell whoever watches what the processes tell, until there is no more."""
    if news is None or progress is None:
        return
    while (moment := news.get()) is not None:
        progress(moment)


_HERE: dict[str, Any] = {}
"""What a process of a batch keeps from file to file: config, networks, how to tell, and whether to stop."""


def _begin_work(config: RestoreConfig, news: Any, stop: Any, threads: int) -> None:
    """Make a process ready: it stops when told to, and when the one that began it is gone."""
    # Ctrl-C reaches every process of a terminal; the first one tells the others, so that each leaves in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    cancel = CancelToken()

    def watch() -> None:
        parent = multiprocessing.parent_process()
        while not stop.wait(1.0):
            if parent is not None and not parent.is_alive():
                os._exit(1)
        cancel.cancel()

    threading.Thread(target=watch, name="batch watch", daemon=True).start()
    _HERE.update(config=config, networks=Networks(config), news=news, cancel=cancel)


def _restore_here(source: Path, target: Path) -> dict[str, Any]:
    """Restore one file in this process; an error travels as what is to be said of it, for not all can be pickled."""
    news = _HERE["news"]

    def tell(moment: Progress) -> None:
        news.put(moment)

    try:
        report = restore_file(
            source,
            target,
            _HERE["config"],
            _HERE["networks"],
            progress=tell if news is not None else None,
            cancel=_HERE["cancel"],
        )
    except CancelledError:
        return {"stopped": True}
    except Exception as error:
        problem = _as_ours(error, source, target)
        return {"error": str(problem), "code": problem.exit_code}
    return {"report": report.model_dump(mode="json")}


def _answer(answer: Mapping[str, Any]) -> FileReport:
    if "stopped" in answer:
        raise CancelledError("stopped")
    if "error" in answer:
        raise (UserError if answer["code"] == UserError.exit_code else ProcessingError)(answer["error"])
    return FileReport.model_validate(answer["report"])
