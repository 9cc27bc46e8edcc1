"""Small runs for the tests: drawn faces, a backbone with random weights, settings that take a second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from safetensors.torch import save_file

from revisage.nets import CompactConfig, VGG19Features
from revisage.train.settings import RestorerTrainConfig

SMALL = CompactConfig(size=64, channels=(16, 16, 16), style_features=16, bottleneck_channels=4)
SMALL_GFPGAN = {
    "architecture": "gfpgan-clean",
    "size": 64,
    "channel_multiplier": 1,
    "narrow": 0.0625,
    "style_features": 32,
    "mapping_layers": 2,
}


def write_material(folder: Path) -> Path:
    """Eight drawn faces in `faces/`, and `vgg.safetensors` with random weights."""
    (folder / "faces").mkdir()
    random = np.random.default_rng(0)
    for index in range(8):
        skin, eye = (int(value) for value in random.integers(120, 220, 2))
        image = np.full((64, 64, 3), 40 * (index % 4) + 30, np.uint8)
        cv2.ellipse(image, (32, 34), (20, 26), 0, 0, 360, (skin, skin - 30, skin - 60), -1)
        for x in (24, 40):
            cv2.circle(image, (x, 30), 3, (255 - eye, 40, eye), -1)
        cv2.line(image, (24, 46), (40, 46), (20, 20, 160), 2)
        cv2.imwrite(str(folder / "faces" / f"{index}.png"), image)
    torch.manual_seed(0)
    save_file(VGG19Features().state_dict(), folder / "vgg.safetensors")
    return folder


def config_of(material: Path, **changes: Any) -> RestorerTrainConfig:
    """Settings of a run of four steps."""
    settings = {
        "data": [{"path": material / "faces"}],
        "vgg": material / "vgg.safetensors",
        "net": SMALL,
        "steps": 4,
        "batch": 2,
        "learning_rate": 2e-3,
        "warm_up_steps": 2,
        "perceptual_window": 32,
        "adversarial_window": 32,
        "device": "cpu",
        "precision": "fp32",
        "threads": 1,
        "workers": 0,
        "log_every": 1,
        "checkpoint_every": 2,
    }
    return RestorerTrainConfig.model_validate({**settings, **changes})


def log_of(run: Path) -> list[dict[str, Any]]:
    """All lines of a run's log."""
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def stopping_at(step: int) -> Any:
    """A listener that interrupts a run when it logs its losses of a step."""

    def listen(line: dict[str, Any]) -> None:
        if line.get("step") == step:
            raise KeyboardInterrupt

    return listen


def losses_of(run: Path, name: str) -> list[float]:
    """One loss, as the log has it."""
    return [line[name] for line in log_of(run) if name in line]


def same(left: Any, right: Any) -> bool:
    """Equal, bit for bit, through nested records of tensors."""
    if isinstance(left, torch.Tensor):
        return torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right, strict=True))
    return bool(left == right)
