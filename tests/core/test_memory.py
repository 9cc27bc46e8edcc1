"""What is freed goes back to the system, in a process that asked for it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = """
import sys
from pathlib import Path
import numpy as np
from revisage.core import give_back_freed_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1])

if sys.argv[1] == "asked":
    give_back_freed_memory()
del_first = np.ones(20 * 2**20, np.uint8)  # its end raises the size from which glibc maps blocks by themselves
del del_first
before = resident()
blocks = [np.ones(4 * 2**20, np.uint8) for _ in range(20)]
last = np.ones(2**20 - 2**16, np.uint8)  # what keeps the heap from shrinking
del blocks
print(resident() - before)
"""


@pytest.mark.skipif(not hasattr(os, "confstr_names") or sys.platform != "linux", reason="needs glibc")
def test_freed_frames_are_given_back() -> None:
    kept = {
        how: int(subprocess.run([sys.executable, "-c", CODE, how], check=True, capture_output=True, text=True).stdout)
        for how in ("asked", "not")
    }
    assert kept["asked"] < 2000 < kept["not"]


@pytest.mark.skipif(not hasattr(os, "confstr_names") or sys.platform != "linux", reason="needs glibc")
def test_small_blocks_are_given_back_when_asked() -> None:
    code = """
from pathlib import Path
import numpy as np
from revisage.core import give_back_freed_memory, trim_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1])

give_back_freed_memory()
before = resident()
blocks = [np.ones(2**19, np.uint8) for _ in range(100)]
last = np.ones(2**19, np.uint8)  # what keeps the heap from shrinking
del blocks
print(resident() - before)
trim_memory()
print(resident() - before)
"""
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    kept, left = map(int, told.split())
    assert left < 2000 < kept


def test_collecting_begins_once_much_is_loaded_and_goes_on_as_usual() -> None:
    code = """
import gc
from revisage.core import put_off_collecting

usual, looked = gc.get_threshold(), []
gc.collect()
gc.callbacks.append(lambda phase, _: looked.append(phase))
put_off_collecting()
loaded = [[] for _ in range(90_000)]
assert not looked
loaded += [[] for _ in range(20_000)]
assert looked
assert gc.get_threshold() == usual
assert len(gc.callbacks) == 1
assert gc.get_freeze_count() >= 90_000
assert gc.collect() == 0

class Circle:
    def __init__(self):
        self.own = self
    def __del__(self):
        print("looked for")

Circle()
gc.collect()
Circle()
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split("\n") == ["looked for", ""], "once, and not again as the process ends"
