"""What a worker does for a job of each kind, in the job's own folder."""

from __future__ import annotations

import json
import re
import shutil
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revisage.core import RestoreConfig, make_config
from revisage.service.limits import check_medium
from revisage.service.running import JobToken, Meter
from revisage.service.store import JobStore
from revisage.service.values import Lease

if TYPE_CHECKING:
    from revisage.media import MediaInfo
    from revisage.pipeline import Networks

__all__ = ["Loaded", "Outcome", "Task", "carry_out"]

_KEPT = 2
_SEGMENT = re.compile(r"-(\d{5})\.")


class Loaded:
    """Networks that stay loaded from job to job: those of the last two kinds of config."""

    def __init__(self) -> None:
        self._networks: OrderedDict[str, Networks] = OrderedDict()

    def networks(self, config: RestoreConfig) -> Networks:
        """Networks for a config."""
        from revisage.pipeline import Networks

        wanted = config.about("networks")
        key = json.dumps(wanted, sort_keys=True)
        if key not in self._networks:
            self._networks[key] = Networks(make_config(wanted))
        self._networks.move_to_end(key)
        while len(self._networks) > _KEPT:
            self._networks.popitem(last=False)
        return self._networks[key]

    def warm_up(self) -> None:
        """Load what the default config needs, so that the first who waits does not wait for that."""
        networks = self.networks(make_config())
        _ = networks.detector, networks.restorer


@dataclass
class Outcome:
    """What came of a job: values for its row, and the files that they name."""

    result: dict[str, Any]
    files: list[Path] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Of the files, in bytes."""
        return sum(path.stat().st_size for path in self.files)

    def discard(self) -> None:
        """Delete the files: another worker's are the job's results."""
        for path in self.files:
            path.unlink(missing_ok=True)


class Task:
    """One attempt at a job, with its own work folder.

    The work folder's name holds the attempt's number. It is the earlier attempt's folder, renamed: what a worker that
    lost its lease still tries to write has lost its path.

    Attributes:
        source: the file to work on.
        names: paths that must not be shown, and what to show for them.
    """

    def __init__(self, store: JobStore, lease: Lease, token: JobToken, meter: Meter, loaded: Loaded) -> None:
        self.store, self.lease, self.token, self.meter = store, lease, token, meter
        self.job = lease.job
        self.source = store.input_path(lease.job.input)
        self.folder = store.folder.job_folder(lease.job.id)
        self.work = self.folder / f"work-{lease.attempt}"
        self.names = {
            self.source: lease.job.input.name,
            self.source.parent: "…",
            self.folder: "…",
            store.folder.base: "…",
        }
        self._loaded = loaded

    @cached_property
    def config(self) -> RestoreConfig:
        """The job's config, with what the service decides."""
        return make_config(self.job.config, overwrite=True)

    @property
    def networks(self) -> Networks:
        """Networks for the job's config."""
        return self._loaded.networks(self.config)

    @cached_property
    def info(self) -> MediaInfo:
        """What the source holds.

        Raises:
            InputError: nothing that can be restored, or more than is allowed.
        """
        from revisage.media import probe

        info = probe(self.source)
        check_medium(info, self.store.settings)
        return info

    @property
    def frames(self) -> int | None:
        """About how many frames the job is about; None when nothing tells."""
        info, config = self.info, self.config
        if info.kind == "image":
            return 1
        if info.duration is None or info.average_rate is None:
            return info.frame_count
        whole = config.start is None and config.end is None
        if whole and info.frame_count is not None:
            return info.frame_count
        end = info.duration if config.end is None else min(config.end, info.duration)
        return max(1, round((end - (config.start or 0)) * info.average_rate))

    def open(self) -> None:
        """Make the work folder, or take over what an earlier attempt left."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for old in sorted(self.folder.glob("work-*"), key=_attempt, reverse=True):
            if old == self.work:
                continue
            if self.work.exists():
                shutil.rmtree(old, ignore_errors=True)
            else:
                old.rename(self.work)
                _drop_unfinished(self.work)
        self.work.mkdir(exist_ok=True, mode=0o700)

    def named(self, name: str, suffix: str) -> Path:
        """A result's path: no other attempt writes there."""
        return self.folder / f"{name}-{self.lease.attempt}{suffix}"

    def tidy(self) -> None:
        """Delete the work folder."""
        shutil.rmtree(self.work, ignore_errors=True)


def _attempt(path: Path) -> int:
    number = path.name.removeprefix("work-")
    return int(number) if number.isdecimal() else -1


def _drop_unfinished(work: Path) -> None:
    """Delete all segments that are not noted as finished: who was writing them may do so still."""
    for manifest in work.glob(".*.revisage-work/manifest.jsonl"):
        finished = set(_segments(manifest))
        for path in manifest.parent.iterdir():
            match = _SEGMENT.search(path.name)
            keep = path.name in ("manifest.jsonl", "scan.json") or (match and int(match[1]) in finished)
            if not keep and not path.is_dir():
                path.unlink(missing_ok=True)


def _segments(manifest: Path) -> list[int]:
    found = []
    for line in manifest.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # the torn last line of a crash
        if isinstance(entry, dict) and "segment" in entry:
            found.append(int(entry["segment"]))
    return found


def carry_out(task: Task) -> Outcome:
    """Do the work of a job.

    Raises:
        RevisageError: it cannot be done, or was stopped.
    """
    from revisage.service.looking import look, preview, scan
    from revisage.service.restoring import restore

    task.open()
    work = {"restore": restore, "image": restore, "look": look, "scan": scan, "preview": preview}[task.job.kind]
    return work(task)
