"""The scan of a job: the one that came with it, the one that was left, or one that is made, alone or by a cluster.

A scan of more than a minute is made in parts. They are kept in the work folder, and so in the service's store: another
attempt goes on behind them, on whichever machine.
"""

from __future__ import annotations

import hashlib
import json
import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING

from revisage import cluster, pipeline
from revisage._version import __version__
from revisage.core import UserError
from revisage.service.work.task import Task

if TYPE_CHECKING:
    from revisage.pipeline import Fingerprint, PartFolder, Runner, Scan

__all__ = ["crew_of", "has_parts", "scan_of"]

_LOG = logging.getLogger("revisage.service")
_KEY = 16
"""Digits of the hash in the name of the folder of parts."""


def crew_of(task: Task, stack: ExitStack, *, several: bool) -> Runner | None:
    """The cluster's workers, for a job that has work for ``several`` of them; None where there is no cluster.

    Args:
        task: the job at work.
        stack: lets the workers go when it is closed.
        several: whether there is enough to do.
    """
    address = task.store.settings.spread
    if address is None or not several:
        return None
    try:
        return stack.enter_context(cluster.connect(address, task.config))
    except UserError as error:
        # Whoever asked for the job cannot mend that, and one worker can do it, too.
        _LOG.warning("the cluster cannot be used, this worker works alone: %s", error)
        return None


def has_parts(task: Task) -> bool:
    """Whether there are parts of a scan to look at side by side: nobody has made it yet, and it is long."""
    is_made = task.job.params.get("scan") is not None or (task.work / "scan.json").exists()
    return not is_made and pipeline.parts_of(task.info, task.config) > 1


def scan_of(task: Task, crew: Runner | None) -> Scan:
    """The scan that came with the job, the one that an earlier attempt left, or a new one.

    Args:
        task: the job at work.
        crew: who looks at parts side by side; None: this worker reads the source through.

    Raises:
        RevisageError: see :func:`revisage.pipeline.scan_source`.
    """
    given = task.job.params.get("scan")
    if given is not None:
        return pipeline.Scan(**given)
    kept = task.work / "scan.json"
    source_print = pipeline.fingerprint(task.source)
    if kept.exists():
        left = pipeline.load_scan(kept)
        if left.source.same_content(source_print):
            return left
    parts = _parts(task, source_print)
    if parts.count:
        _LOG.info("job %s: %d parts of its scan are there already", task.job.id, parts.count)
    found = pipeline.scan_source(
        task.source,
        source_print,
        task.config,
        task.networks,
        total=task.frames,
        progress=task.meter,
        cancel=task.token,
        runner=crew,
        kept=parts,
    )
    found.save(kept, overwrite=True)
    parts.empty()
    return found


def _parts(task: Task, source_print: Fingerprint) -> PartFolder:
    """Where the parts of this very scan are kept: of another source, or by another detector, they would be others."""
    settings = pipeline.scan_settings(task.config, task.networks).model_dump(mode="json")
    key = json.dumps([__version__, source_print.sha256, settings], sort_keys=True)
    return pipeline.PartFolder(task.work / f"scan-parts-{hashlib.sha256(key.encode()).hexdigest()[:_KEY]}")
