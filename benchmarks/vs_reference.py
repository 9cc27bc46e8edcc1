"""GFP-GAN 512 by revisage beside GFPGANer, the reference, on the same weights, clip and machine.

    python benchmarks/vs_reference.py --make-venv DIR          # once: torch 2.1, gfpgan 1.3.8, facexlib, basicsr
    python benchmarks/vs_reference.py --venv DIR [--shared DIR] [--frames N] [--modes NAME ...] [--json FILE]

The reference runs in a virtual environment of its own: basicsr does not import beside a current torchvision. Weights
are the parity ones (`fill.py`), so nothing is downloaded; with them its detector knows no face, so it is run, and then
given the face that ours found. Decoding, detection, restoration and pasting at twice the size are counted on both
sides, encoding on ours alone. Of the demo's talking face, 480x270, every frame is restored; in s18.mp4, 1280x720, what
was restored is carried where little has changed. The bar of `auto` is meant for processors with bf16. A frame's time is
that of more frames less that of fewer, so that loading is in neither: processor time (threads that wait for each other
included) and wall time.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
UPSCALE = 2
PACKAGES = (
    ("torch==2.1.2", "torchvision==0.16.2", "numpy<2", "wheel", "setuptools==69.5.1"),
    ("numpy<2", "cython", "opencv-python-headless<4.11", "scipy<1.13", "scikit-image<0.24", "numba", "filterpy==1.4.5"),
    ("pillow<11", "lmdb", "pyyaml", "requests", "tqdm", "yapf", "addict", "future"),
    ("--no-build-isolation", "--no-deps", "basicsr==1.4.2", "facexlib==0.3.0", "gfpgan==1.3.8"),
)


@dataclass(frozen=True)
class Mode:
    """A way to restore a clip, and how many times as fast as the reference it must be."""

    clip: str
    options: dict[str, Any]
    bar: float


MODES = {
    "fp32": Mode("talking", {"precision": "fp32", "carry": 0}, 3.5),
    "auto": Mode("talking", {"carry": 0}, 7.5),
    "auto, carrying": Mode("s18", {}, 12.0),
}


def make_venv(folder: Path) -> None:
    """The reference's environment."""
    venv.create(folder, with_pip=True)
    for packages in PACKAGES:
        subprocess.run([folder / "bin" / "pip", "--isolated", "install", "-q", *packages], check=True)


def reference(folder: Path, clip: Path, shared: Path, face: list[float], frames: int) -> None:
    """In the reference's environment: enhance frames of a clip in turn."""
    import cv2
    import numpy as np
    import torch

    sys.path.insert(0, str(shared / "parity"))
    from facexlib.detection.retinaface import RetinaFace
    from facexlib.parsing.parsenet import ParseNet
    from fill import fill
    from gfpgan import GFPGANer
    from gfpgan.archs.gfpganv1_clean_arch import GFPGANv1Clean

    os.chdir(folder)
    Path("gfpgan/weights").mkdir(parents=True, exist_ok=True)
    settings = {"num_style_feat": 512, "channel_multiplier": 2, "num_mlp": 8, "input_is_latent": True}
    net = GFPGANv1Clean(512, **settings, different_w=True, narrow=1, sft_half=True)
    torch.save({"params_ema": fill(net.state_dict())}, "gfpgan.pth")
    detector = RetinaFace(network_name="resnet50", device="cpu")
    torch.save(fill(detector.state_dict()), "gfpgan/weights/detection_Resnet50_Final.pth")
    torch.save(fill(ParseNet(512, 512, parsing_ch=19).state_dict()), "gfpgan/weights/parsing_parsenet.pth")
    gfpganer = GFPGANer("gfpgan.pth", upscale=UPSCALE, device=torch.device("cpu"))
    detect = gfpganer.face_helper.face_det.detect_faces

    def found(image: np.ndarray, *_: object, **__: object) -> np.ndarray:
        detect(image, conf_threshold=1.0)
        return np.array([face], np.float32)

    gfpganer.face_helper.face_det.detect_faces = found
    reading = cv2.VideoCapture(str(clip))
    for _ in range(frames):
        _, picture = reading.read()
        _, restored, whole = gfpganer.enhance(picture, only_center_face=True, paste_back=True)
        assert len(restored) == 1
        assert whole.shape[0] == UPSCALE * picture.shape[0]


def ours(folder: Path, clip: Path, frames: int, mode: str) -> None:
    """Restore the first frames of a clip, with the weights that the reference left in the folder."""
    import revisage
    from revisage.media import open_source

    with open_source(clip) as source:
        times = [frame.pts * frame.time_base for frame in itertools.islice(source.frames(), frames + 1)]
    out, weights = folder / "out.mp4", str(folder / "gfpgan.pth")
    end = (times[frames] + times[frames - 1]) / 2 - times[0]
    revisage.restore(clip, out, model=weights, upscale=UPSCALE, end=end, overwrite=True, **MODES[mode].options)


def seconds(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Of processor and wall time that a command takes."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, env=environment, stdout=sys.stderr)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - started
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--make-venv", type=Path)
    parser.add_argument("--venv", type=Path)
    parser.add_argument("--shared", type=Path, default=HERE.parent / "shared")
    parser.add_argument("--frames", type=int, default=12, help="of ours that are counted; a quarter of it of the other")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--run", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make_venv:
        make_venv(options.make_venv)
    elif options.run:
        told = json.loads(options.run)
        places = Path(told["folder"]), Path(told["clip"]), Path(told["shared"])
        if told["mode"] == "reference":
            reference(*places, told["face"], told["frames"])
        else:
            ours(*places[:2], told["frames"], told["mode"])
    else:
        compare(options)


def compare(options: argparse.Namespace) -> None:
    """All in turn, clip by clip."""
    from footage import talking_clip
    from measuring import finish, machine, print_table

    rows: list[dict[str, Any]] = []
    print(machine())
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        clips = {"talking": talking_clip(folder / "talking.mp4", options.frames + 2)}
        clips["s18"] = options.shared.resolve() / "clips" / "s18.mp4"
        for name, clip in clips.items():
            modes = [mode for mode in options.modes if MODES[mode].clip == name]
            if modes:
                rows += compare_on(clip, modes, folder, options)
    print_table(f"GFP-GAN 512, x{UPSCALE}", rows)
    finish({"rows": rows}, options.json)


def compare_on(clip: Path, modes: list[str], folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The reference and modes of ours on one clip."""
    told = {"folder": str(folder), "clip": str(clip), "shared": str(options.shared.resolve()), "face": face_of(clip)}
    rows: list[dict[str, Any]] = []
    for mode in ("reference", *modes):
        is_ours = mode != "reference"
        counted = options.frames if is_ours else max(1, options.frames // 4)
        python = sys.executable if is_ours else str(options.venv / "bin" / "python")
        around = {**os.environ, "PYTHONPATH": str(HERE / "src") if is_ours else ""}
        taken = []
        for frames in (1, 1, 1 + counted)[not is_ours :]:  # the first of ours fills the cache
            run = json.dumps({**told, "mode": mode, "frames": frames})
            taken.append(seconds([python, __file__, "--run", run], around))
        processor, wall = ((many - few) / counted for few, many in zip(taken[-2], taken[-1], strict=True))
        row = {"clip": clip.stem, "mode": mode, "frames": counted, "s a frame": wall, "processor s": processor}
        first = rows[0] if rows else row
        row |= {"times as fast": first["s a frame"] / wall, "in processor time": first["processor s"] / processor}
        rows.append({**row, "bar": MODES[mode].bar if is_ours else None})
        print(rows[-1], flush=True)
    return rows


def face_of(clip: Path) -> list[float]:
    """The largest face of a clip's first frame as the reference's detector tells one."""
    from revisage import detect_faces
    from revisage.media import open_source

    with open_source(clip) as source:
        face = detect_faces(next(iter(source.frames())).rgb())[0]
    x, y, width, height = face.box
    return [x, y, x + width, y + height, face.score, *map(float, face.landmarks.ravel())]


if __name__ == "__main__":
    main()
