"""GFP-GAN 512 by revisage beside GFPGANer, the reference, on the same weights, clip and machine.

    python benchmarks/vs_reference.py --make-venv DIR          # once: torch 2.1, gfpgan 1.3.8, facexlib, basicsr
    python benchmarks/vs_reference.py --venv DIR [--shared DIR] [--frames N] [--clip FILE] [--modes NAME ...]

The reference runs in a virtual environment of its own: basicsr does not import beside a current torchvision. Weights
are the parity ones (`fill.py`), so nothing is downloaded; with them its detector knows no face, so it is run, and then
given the face that ours found. Decoding, detection, restoration and pasting at twice the size are counted on both
sides, encoding on ours alone. A frame's time is that of more frames less that of fewer, so that loading is in neither:
processor time (threads that wait for each other included) and wall time.
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
MODES: dict[str, dict[str, Any]] = {
    "fp32": {"precision": "fp32", "carry": 0},
    "auto": {"carry": 0},
    "auto, carrying": {},
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
    revisage.restore(clip, out, model=weights, upscale=UPSCALE, end=end, overwrite=True, **MODES[mode])


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
    parser.add_argument("--clip", type=Path, help="by default the demo's talking face, 480x270")
    parser.add_argument("--frames", type=int, default=12, help="of ours that are counted; a quarter of it of the other")
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
    """All in turn."""
    from footage import talking_clip
    from measuring import machine, print_table
    from revisage import detect_faces
    from revisage.media import open_source

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        clip = options.clip or talking_clip(folder / "talking.mp4", options.frames + 2)
        with open_source(clip) as source:
            face = detect_faces(next(iter(source.frames())).rgb())[0]
        x, y, width, height = face.box
        box = [x, y, x + width, y + height, face.score, *map(float, face.landmarks.ravel())]
        environment = {**os.environ, "PYTHONPATH": str(HERE / "src")}
        rows = []
        for mode in ("reference", *options.modes):
            python = str(options.venv / "bin" / "python") if mode == "reference" else sys.executable
            around = {**environment, "PYTHONPATH": ""} if mode == "reference" else environment
            counted = max(1, options.frames // 4) if mode == "reference" else options.frames
            told = {"mode": mode, "folder": str(folder), "clip": str(clip.resolve()), "shared": str(options.shared)}
            taken = []
            for frames in (1, 1, 1 + counted)[mode == "reference" :]:  # the first of ours fills the cache
                run = json.dumps({**told, "face": box, "frames": frames})
                taken.append(seconds([python, __file__, "--run", run], around))
            processor, wall = ((many - few) / counted for few, many in zip(taken[-2], taken[-1], strict=True))
            rows.append({"mode": mode, "frames": counted, "processor s a frame": processor, "wall s a frame": wall})
            rows[-1]["times less processor time"] = rows[0]["processor s a frame"] / processor
            rows[-1]["times as fast"] = rows[0]["wall s a frame"] / wall
            print(rows[-1], flush=True)
        print(machine())
        print_table(f"GFP-GAN 512, {clip.name}, x{UPSCALE}", rows)


if __name__ == "__main__":
    main()
