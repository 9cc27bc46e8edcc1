"""What do guide frames, and a photo of the same person, do for footage of which half is badly coded?

    python benchmarks/guide_frames.py [--shared DIR] [--clips NAME@FRAME ...] [--frames N] [--photo] [--json FILE]
        [--keep DIR]

Pieces of clips, cut around the largest face: the first half of their frames in H.264 at crf 38, the second at crf 16,
as where a stream gets more bits. The bad half is measured against the source as found, restored, with
`--guide-frames`, and (`--photo`) with `--reference`: a sharp frame of the same clip from behind the piece.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2

import revisage
from footage import coded, write_clip
from measuring import finish, print_table
from pieces import Yardstick, cut_piece, read_pictures
from revisage.core import InputError
from revisage.media import open_source

CLIPS = ("swiz3n.mpg@10", "retalking_1.mp4@20", "asl_brother.mkv@10", "asl_thanks.mkv@8")
BAD, GOOD = "38", "16"
BEHIND = 12
"""Frames from the end of a piece to the one that serves as a photo."""


def main() -> None:
    options = _options()
    cv2.setNumThreads(1)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        for clip in options.clips:
            name, _, first = clip.partition("@")
            place = (options.keep or Path(temporary)) / name
            found = list(_rows(options.shared, name, int(first), place, options))
            print_table(clip, found)
            rows += [{"clip": clip, **row} for row in found]
    finish({"frames": options.frames, "bad": BAD, "good": GOOD, "rows": rows}, options.json)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--clips", nargs="*", default=CLIPS, metavar="NAME@FRAME")
    parser.add_argument("--frames", type=int, default=10, help="of each half")
    parser.add_argument("--photo", action="store_true", help="measure a guide photo, too")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep what was measured there")
    return parser.parse_args()


def _rows(shared: Path, name: str, first: int, place: Path, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    count = 2 * options.frames
    with open_source(shared / "clips" / name) as source:
        shots = [frame.rgb() for frame in itertools.islice(source.frames(first), count + BEHIND)]
    piece = cut_piece(shots[:count], place)
    halves = piece.pictures[: options.frames], piece.pictures[options.frames :]
    film = place / "film.mkv"
    pictures = [*coded(halves[0], crf=BAD), *coded(halves[1], crf=GOOD)]
    write_clip(film, pictures, codec="ffv1", form="yuv444p")
    bad = slice(options.frames)
    yard = Yardstick(replace(piece, pictures=piece.pictures[bad], faces=piece.faces[bad]), shared)
    yield {"way": "as found", "guide": "", **yard.measure(pictures[bad])}
    ways: dict[str, dict[str, Any]] = {"restored": {}, "guide frames": {"guide_frames": True}}
    if options.photo:
        photo = place / "photo.png"
        cv2.imwrite(str(photo), shots[-1][..., ::-1])
        ways["photo"] = {"reference": [photo]}
    for way, chosen in ways.items():
        output = place / f"{way.replace(' ', '-')}.mkv"
        try:
            report = revisage.restore(film, output, overwrite=True, **chosen)
        except InputError as error:
            # A small face is no guide.
            print(f"{way}: {error}")
            continue
        guides = {track.guide for track in report.tracks if track.guide}
        yield {"way": way, "guide": ", ".join(sorted(guides)), **yard.measure(read_pictures(output)[bad])}


if __name__ == "__main__":
    main()
