"""Who is who: an embedding of a face crop, where an identity network is on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.core import ModelError

if TYPE_CHECKING:
    from revisage.engines import Engine

__all__ = ["Identity", "load_identity"]

_ARCHITECTURE = "mobilefacenet"
_FILES = ("mobilefacenet.onnx", "mobilefacenet.safetensors")
_SIZE = 112
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)


class Identity:
    """Turns crops into unit vectors whose cosines tell people apart."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __call__(self, crops: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """The unit mean of the crops' embeddings, ``(128,) float32``.

        crops: at least one, each ``(size, size, 3) uint8 RGB`` in FFHQ framing.
        """
        vectors = np.concatenate([self._engine(_prepared(crop))[0] for crop in crops])
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        mean = vectors.mean(axis=0)
        return np.asarray(mean / np.linalg.norm(mean), np.float32)


def load_identity() -> Identity | None:
    """The identity network, when its weights are in the folder of models; nothing is fetched.

    Raises ModelError when they are damaged.
    """
    from revisage import models

    files = (models.folder() / name for name in _FILES)
    found = next((file for file in files if file.is_file()), None)
    return None if found is None else Identity(_engine(found))


def _engine(file: Path) -> Engine:
    from revisage import models
    from revisage.engines import OpenVinoEngine, compile_model, core, make_engine
    from revisage.nets import build

    side = (_SIZE, _SIZE)
    try:
        if file.suffix == ".onnx":
            return OpenVinoEngine(compile_model(core().read_model(str(file)), "fp32"), side, "fp32")
        net = build(_ARCHITECTURE, {})
        net.load_state_dict(models.load_state(file))
    except RuntimeError as error:
        raise ModelError(f"{file} is damaged or another network: {' '.join(str(error).split())[:120]}") from error
    return make_engine(net.float(), side, device="cpu", precision="fp32")


def _prepared(crop: NDArray[np.uint8]) -> NDArray[np.float32]:
    from revisage.faces import ARCFACE_112, ffhq_template, similarity, warp_antialiased

    affine = similarity(ffhq_template(crop.shape[0]), ARCFACE_112)
    face = warp_antialiased(crop, affine, (_SIZE, _SIZE), interpolation=cv2.INTER_LINEAR, border=cv2.BORDER_REFLECT_101)
    values = (face.astype(np.float32) / 255 - _MEAN) / _DEVIATION
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None], dtype=np.float32)
