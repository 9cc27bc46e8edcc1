"""Copies that browsers play: what is in them, and when."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from revisage.core.progress import CancelToken
from revisage.media import is_playable, probe, write_playable
from sample_media import SAMPLES, plain_frames, write_video

RATE = 48000


def pictures_held_back(path: Path, lead: Fraction) -> Path:
    """Pictures that the decoder holds back until it has seen further ones, and sound; both begin at ``lead``."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"x264-params": "bframes=4:b-pyramid=2:b-adapt=0"})
        video.height, video.width, video.pix_fmt = 64, 96, "yuv420p"
        sound = container.add_stream("mp2", rate=RATE)
        sound.codec_context.layout = "mono"
        packets = [packet for number in range(46) for packet in sound.encode(noise(number, lead))]
        packets += sound.encode(None)
        for number, picture in enumerate(plain_frames(25, (64, 96))):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = round(lead * 25) + number, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        container.mux(packets)
    return path


def noise(number: int, lead: Fraction) -> av.AudioFrame:
    """1152 samples."""
    samples = np.random.default_rng(number).integers(-9000, 9000, (1, 1152), dtype=np.int16)
    frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = RATE, round(lead * RATE) + number * 1152, Fraction(1, RATE)
    return frame


@pytest.mark.parametrize("lead", [Fraction(0), Fraction(2)])
def test_sound_that_comes_before_the_first_decoded_picture_is_kept(tmp_path: Path, lead: Fraction) -> None:
    source = pictures_held_back(tmp_path / "first.mkv", lead)
    target = tmp_path / "playable.mp4"
    write_playable(source, target, probe(source), CancelToken())
    with av.open(str(target)) as container:
        heard = list(container.decode(audio=0))
    with av.open(str(target)) as container:
        seen = [frame.time for frame in container.decode(video=0)]
    assert (seen[0], len(seen)) == (0, 25)
    assert heard[0].time == 0
    length = 46 * 1152
    assert length - SAMPLES <= sum(frame.samples for frame in heard) <= length + SAMPLES


def test_a_copy_of_what_browsers_do_not_play_is_one_that_they_do(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.mkv", plain_frames(5), codec="mpeg2video")
    target = tmp_path / "a.mp4"
    assert not is_playable(probe(source))
    write_playable(source, target, probe(source), CancelToken())
    assert is_playable(probe(target))
