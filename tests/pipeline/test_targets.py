"""What is to be written for one file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from revisage import media
from revisage.core import RestoreConfig
from revisage.pipeline.targets import make_target


def odd_gif(path: Path) -> Path:
    pictures = [Image.fromarray(np.full((51, 65, 3), 40 * number, np.uint8)) for number in range(3)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=100)
    return path


def test_an_odd_gif_becomes_a_video_that_players_take(tmp_path: Path) -> None:
    source = odd_gif(tmp_path / "odd.gif")
    info = media.probe(source)

    def target(name: str, **options: object) -> media.EncodeOptions:
        return make_target(source, tmp_path / name, info, RestoreConfig.model_validate(options)).options

    video = target("out.mp4")
    assert video.size_hw == (52, 66)
    assert media.resolve_options(info, tmp_path / "out.mp4", video).pixel_format == "yuv420p"
    assert target("out.mp4", pixel_format="yuv444p").size_hw == (51, 65)
    assert target("out.mkv", codec="ffv1").size_hw == (51, 65)
    assert target("out.gif").size_hw == (51, 65)
