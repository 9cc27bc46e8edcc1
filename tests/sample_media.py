"""Small media and models for tests of the pipeline, the API and the command line; made anew, nothing is downloaded."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.demo import clean_frames

Image = NDArray[np.uint8]
SAMPLES = 1024


_DRAWN: list[Image] = []


def face_frames(count: int) -> list[Image]:
    """``(270, 480, 3) uint8 RGB`` frames of one talking face, about 115 px wide."""
    if len(_DRAWN) < count:
        _DRAWN[:] = itertools.islice(clean_frames(), count)
    return [frame.copy() for frame in _DRAWN[:count]]


def soft_frames(count: int) -> list[Image]:
    """Those of ``face_frames``, blurred: as it is the face counts as clean, so that nothing of it is changed."""
    return [np.asarray(cv2.GaussianBlur(frame, (0, 0), 1.5), np.uint8) for frame in face_frames(count)]


def plain_frames(count: int, size_hw: tuple[int, int] = (120, 160)) -> list[Image]:
    """Frames without a face: a slope that moves."""
    rows, columns = np.mgrid[: size_hw[0], : size_hw[1]]
    return [
        np.stack((columns + 3 * index, rows, 2 * rows), axis=-1).astype(np.uint8) // 2 + 40 for index in range(count)
    ]


X265 = {"x265-params": "log-level=none:frame-threads=1"}
"""Options of libx265 in tests; with more frame threads it may stand still, see revisage.media.video.encoders."""

_ENCODERS = {"libx264": {"preset": "ultrafast", "crf": "12"}, "libx265": X265}


def write_video(
    path: Path,
    frames: Iterable[Image],
    *,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    pts: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 25),
    audio: bool = False,
    options: dict[str, str] | None = None,
) -> Path:
    """A video of RGB frames, by default 25 per second; ``pts`` are in ``time_base``."""
    options = {**_ENCODERS.get(codec, {}), **(options or {})}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        sound = container.add_stream("aac", rate=48000) if audio else None
        count = 0
        for count, picture in enumerate(frames, 1):
            if count == 1:
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = pixel_format
                stream.codec_context.time_base = time_base
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixel_format)
            frame.pts = count - 1 if pts is None else pts[count - 1]
            frame.time_base = time_base
            container.mux(stream.encode(frame))
        if sound is not None:
            for number in range(count * 48000 // 25 // SAMPLES):
                container.mux(sound.encode(_tone(number)))
            container.mux(sound.encode(None))
        container.mux(stream.encode(None))
    return path


def _tone(number: int) -> av.AudioFrame:
    time = (np.arange(SAMPLES) + number * SAMPLES) / 48000
    frame = av.AudioFrame.from_ndarray(
        (0.2 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)[None], format="fltp", layout="mono"
    )
    frame.sample_rate, frame.pts, frame.time_base = 48000, number * SAMPLES, Fraction(1, 48000)
    return frame


def read_video(path: Path) -> list[tuple[Fraction, Image]]:
    """Time in seconds and RGB pixels of each frame."""
    with av.open(str(path)) as container:
        return [(f.pts * f.time_base, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]


def audio_packets(path: Path) -> list[tuple[Fraction, bytes]]:
    """Time and content of each audio packet."""
    with av.open(str(path)) as container:
        return [(p.pts * p.time_base, bytes(p)) for p in container.demux(container.streams.audio) if p.size]


def write_tiny_model(path: Path) -> Path:
    """A compact restorer of 64 px that was never trained: quick, and it changes every face a little."""
    from safetensors.torch import save_file

    net, config = _tiny_net()
    record = {"arch": "compact", "config": config}
    save_file(net.state_dict(), path, metadata={"revisage": json.dumps(record)})
    return path


def write_tiny_compiled_model(path: Path) -> Path:
    """The same network in OpenVINO's form (.xml), which loads without torch."""
    from revisage.engines import convert, write_model

    net, config = _tiny_net()
    write_model(convert(net, (64, 64)), path, {"arch": "compact", "config": config})
    return path


def _tiny_net() -> tuple[Any, dict[str, Any]]:
    import torch

    from revisage.nets import CompactConfig, CompactGFPGAN

    config = CompactConfig(size=64, channels=(8, 8), style_features=8, bottleneck_channels=4)
    torch.manual_seed(5)
    net = CompactGFPGAN(config)
    with torch.no_grad():
        for parameter in net.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.05)
    return net, config.model_dump(mode="json")
