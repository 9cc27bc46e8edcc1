"""Two nodes: pictures that stand for themselves, and pictures that are the frames of one video."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import av
import numpy as np
import torch

import revisage

__all__ = ["RestoreFaces", "RestoreFacesInVideo"]

_CATEGORY = "image/restoration"
_IMAGES = ("IMAGE", {"tooltip": "What is not face comes out as it came in."})
_STRENGTH = ("FLOAT", {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.05, "tooltip": "0 leaves faces as they are."})
_UPSCALE = ("FLOAT", {"default": 1.0, "min": 1.0, "max": 4.0, "step": 0.5, "tooltip": "Width and height times this."})
_MODEL = ("STRING", {"default": "compact", "tooltip": "A name of `revisage models list`, or a file of weights."})


def _pictures(images: torch.Tensor) -> Iterator[np.ndarray]:
    """Each of a batch as ``(H, W, 3) uint8 RGB``.

    Args:
        images: ``(B, H, W, 3) float32`` RGB, 0..1.

    Raises:
        ValueError: another number of channels.
    """
    if images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(
            f"expected images as (B, H, W, 3), got {tuple(images.shape)}; split an alpha channel off before"
        )
    for image in images:
        yield np.rint(image.detach().cpu().float().numpy().clip(0, 1) * 255).astype(np.uint8)


def _batch(restored: Iterable[np.ndarray], images: torch.Tensor) -> torch.Tensor:
    """Restored pictures as a batch; what 8 bits did not change keeps the finer values that it had."""
    made = torch.from_numpy(np.stack(list(restored)))
    after = made.to(torch.float32) / 255
    if made.shape != images.shape:
        return after
    before = torch.from_numpy(np.stack(list(_pictures(images))))
    return torch.where(made == before, images.detach().cpu().to(torch.float32), after)


class RestoreFaces:
    """Restores the faces in each picture of a batch by itself."""

    CATEGORY = _CATEGORY
    DESCRIPTION = "Restores the faces in pictures, each by itself."
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("images",)
    FUNCTION = "restore"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:  # noqa: N802 - ComfyUI's name
        """What the node takes, with the widgets for it."""
        return {"required": {"images": _IMAGES, "strength": _STRENGTH, "upscale": _UPSCALE, "model": _MODEL}}

    def restore(self, images: torch.Tensor, strength: float, upscale: float, model: str) -> tuple[torch.Tensor]:
        """The batch, restored.

        Args:
            images: ``(B, H, W, 3) float32`` RGB, 0..1.
            strength: 0 leaves faces as they are, 1 restores them fully.
            upscale: how many times as wide and high the result is.
            model: name or file of a restorer.

        Returns:
            ``(B, H * upscale, W * upscale, 3) float32`` RGB, 0..1.
        """
        options: dict[str, Any] = {"strength": strength, "upscale": upscale, "model": model}
        return (_batch((revisage.restore_image(picture, **options) for picture in _pictures(images)), images),)


class RestoreFacesInVideo:
    """Restores the faces in a batch whose pictures are the frames of one video.

    The frames go through files without loss: faces are then followed, smoothed and averaged along their motion with
    the frames before and after, as in any video.
    """

    CATEGORY = _CATEGORY
    DESCRIPTION = "Restores the faces in the frames of one video, steady from frame to frame."
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("images",)
    FUNCTION = "restore"
    _TEMPORAL: ClassVar = (["flow", "smooth", "off"], {"default": "flow", "tooltip": "How faces are kept steady."})
    _RATE: ClassVar = (
        "FLOAT",
        {"default": 25.0, "min": 1.0, "max": 240.0, "step": 0.01, "tooltip": "Frames a second."},
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:  # noqa: N802 - ComfyUI's name
        """What the node takes, with the widgets for it."""
        own = {"temporal": cls._TEMPORAL, "frame_rate": cls._RATE}
        return {"required": {"images": _IMAGES, "strength": _STRENGTH, "upscale": _UPSCALE, "model": _MODEL, **own}}

    def restore(
        self, images: torch.Tensor, strength: float, upscale: float, model: str, temporal: str, frame_rate: float
    ) -> tuple[torch.Tensor]:
        """The frames, restored; see :meth:`RestoreFaces.restore`.

        Args:
            images: as there.
            strength: as there.
            upscale: as there.
            model: as there.
            temporal: how faces are kept steady.
            frame_rate: frames a second.
        """
        options: dict[str, Any] = {"strength": strength, "upscale": upscale, "model": model, "temporal": temporal}
        with tempfile.TemporaryDirectory(prefix="revisage-comfyui-") as folder:
            source, target = Path(folder) / "frames.mkv", Path(folder) / "restored.mkv"
            _write(source, _pictures(images), frame_rate)
            revisage.restore(source, target, **options)
            return (_batch(_read(target), images),)


def _write(path: Path, pictures: Iterable[np.ndarray], frame_rate: float) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(frame_rate).limit_denominator(1001))
        for number, picture in enumerate(pictures):
            if number == 0:
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "bgr0"
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="bgr0")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _read(path: Path) -> Iterator[np.ndarray]:
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")
