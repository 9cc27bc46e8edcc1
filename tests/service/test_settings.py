"""What bounds a worker: memory, and time even when the work does not listen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MEMORY = """
from revisage.service.settings import limit_process
from revisage.service.settings import ServiceSettings
limit_process(ServiceSettings(max_memory_bytes=10**9), 0)
try:
    bytearray(2 * 10**9)
except MemoryError:
    print("refused")
"""

HUNG = """
import io, sys, threading, time
from pathlib import Path
from revisage.service import jobs
from revisage.service.work import task as running
from revisage.service.jobs.rights import Leases
running._GRACE = 0.1
store = jobs.open_store(data_dir=sys.argv[1])
file = jobs.receive(store, io.BytesIO(b"GIF89a" + bytes(99)), "a.gif")
job = jobs.restore(store, file.id)
leases = Leases(store, "restore")
lease = leases.take()
token = running.JobToken()
options = {"ending": threading.Event(), "limit": 0.2, "settings": store.settings}
with running.Heart(leases, lease, token, running.Meter(), **options):
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds the memory of a process in this way")
def test_memory_beyond_the_limit_is_refused() -> None:
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "refused"


def test_work_that_hangs_beyond_its_time_is_ended_with_its_process(tmp_path: Path) -> None:
    from revisage.service.jobs.intake import open_store

    done = subprocess.run([sys.executable, "-c", HUNG, str(tmp_path)], capture_output=True, text=True, timeout=200)
    assert done.returncode == 75, done.stderr
    store = open_store(data_dir=tmp_path)
    (job,) = store.jobs().jobs
    store.close()
    assert (job.status, job.error_code) == ("failed", "out_of_time")
