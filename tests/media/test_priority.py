"""No encoder takes the machine."""

from __future__ import annotations

import os
import sys
from fractions import Fraction
from pathlib import Path

import av
import pytest

from revisage.media.video.encoders import ordinary_priority

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="real-time scheduling is Linux's")


def policies() -> set[int]:
    return {os.sched_getscheduler(int(thread.name)) for thread in Path("/proc/self/task").iterdir()}


def test_an_encoder_leaves_the_scheduling_as_it_was() -> None:
    if "libsvtav1" not in av.codecs_available:
        pytest.skip("this build of FFmpeg has no SVT-AV1")
    context = av.CodecContext.create("libsvtav1", "w")
    context.width = context.height = 64
    context.pix_fmt = "yuv420p"
    context.time_base = Fraction(1, 25)
    context.framerate = Fraction(25)
    with ordinary_priority():
        context.open()
    assert policies() == {os.SCHED_OTHER}
