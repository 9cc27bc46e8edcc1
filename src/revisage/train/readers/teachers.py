"""The networks that a face reader is taught by, each shown a clean aligned face as it wants to see one.

Identity: MobileFaceNet (Chen et al., CCBR 2018). Head pose: FSA-Net (Yang et al., CVPR 2019), the mean of its two
variants. Landmarks and expression: the two networks of face-api.js (MIT), four dense blocks of separable convolutions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from revisage import models, nets
from revisage.core import Image, InputError, ModelError, file_sha256
from revisage.engines import Engine, core, make_engine
from revisage.faces import ffhq_template, identity_input

__all__ = ["MIRRORED", "Labels", "Teachers", "identity_file", "label_faces", "mirrored_landmarks"]

FloatArray = NDArray[np.float32]

_IDENTITY = "identity/mobilefacenet.fp16.safetensors"
_LANDMARKS = "landmarks/face_landmark_68_model.fp16.safetensors"
_EXPRESSION = "expression/face_expression_model.fp16.safetensors"
_POSE = ("pose/fsanet_1x1.onnx", "pose/fsanet_var.onnx")

_SHOWN, _POSE_SIZE, _AT_ONCE = 112, 64, 16
_FACE_API_MEAN = (122.782, 117.001, 104.298)
_BOX_CENTRE, _BOX_SIDE = (0.5, 0.6), 0.62
"""The square box that a detector would draw around an FFHQ face, as parts of the crop's side."""
_POSE_SIDE = 1.2 * _BOX_SIDE
_MARGIN = 1.12
"""The landmarks' second look: a square around the first answer, with this much room, as face-api.js pads its boxes."""


def _mirrored_order() -> NDArray[np.intp]:
    """Which of the 68 landmarks (300-W's order) each becomes in a mirrored face."""
    order = np.arange(68)
    for first, last in ((0, 16), (17, 26), (31, 35), (48, 54), (60, 64)):
        order[first : last + 1] = np.arange(last, first - 1, -1)
    order[36:48] = [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
    order[55:60] = np.arange(59, 54, -1)
    order[65:68] = np.arange(67, 64, -1)
    return order


MIRRORED = _mirrored_order()
"""``(68,)``: the landmark of the mirrored face that each one is."""


def mirrored_landmarks(landmarks: NDArray[np.floating]) -> FloatArray:
    """Landmarks ``(..., 68, 2)``, parts of a crop's side, of the mirrored crop."""
    other = landmarks[..., MIRRORED, :].astype(np.float32)
    other[..., 0] = 1 - other[..., 0]
    return other


@dataclass(frozen=True)
class Labels:
    """What the teachers say of n clean faces.

    Attributes:
        identity: ``(n, 128) float32`` of length one.
        mirrored: the same of the mirrored faces.
        pose: ``(n, 3) float32``: yaw, pitch, roll, degrees.
        landmarks: ``(n, 68, 2) float32``: x, y as parts of the crop's side, 0 to 1 from edge to edge.
        expression: ``(n, 7) float32`` probabilities: neutral, happy, sad, angry, fearful, disgusted, surprised.
    """

    identity: FloatArray
    mirrored: FloatArray
    pose: FloatArray
    landmarks: FloatArray
    expression: FloatArray

    def __post_init__(self) -> None:
        lengths = {len(getattr(self, field.name)) for field in fields(self)}
        if len(lengths) != 1:
            raise ValueError(f"labels of different lengths: {sorted(lengths)}")


class _FaceApiNet(nn.Module):
    """face-api.js' extractor and its last layer: (N, 3, 112, 112), 0..255 minus the mean over 255, to (N, outputs)."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        channels = (3, 32, 64, 128, 256)
        for block in range(4):
            self.add_module(f"dense{block}", _DenseBlock(channels[block], channels[block + 1], plain=block == 0))
        self.fc = nn.Linear(channels[-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        for block in range(4):
            x = self.get_submodule(f"dense{block}")(x)
        answer: Tensor = self.fc(x.mean((2, 3)))
        return answer


class _DenseBlock(nn.Module):
    def __init__(self, inputs: int, channels: int, *, plain: bool) -> None:
        super().__init__()
        self.conv0: nn.Module = nn.Conv2d(inputs, channels, 3, 2) if plain else _Separable(inputs, channels, 2)
        self.conv1, self.conv2, self.conv3 = (_Separable(channels, channels, 1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        # TensorFlow's SAME at stride 2 and even sides: the extra row and column are at the bottom and right.
        total = F.relu(self.conv0(F.pad(x, (0, 1, 0, 1))))
        answer = total
        for conv in (self.conv1, self.conv2, self.conv3):
            total = total + conv(F.pad(answer, (1, 1, 1, 1)))
            answer = F.relu(total)
        return answer


class _Separable(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, stride, groups=inputs, bias=False)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x)) + self.bias[:, None, None]


class Teachers:
    """All of them, from a folder of their weights.

    Args:
        folder: with the files ``identity/mobilefacenet.fp16.safetensors``, ``pose/fsanet_1x1.onnx`` ...

    Raises:
        InputError: one is missing.
        ModelError: one is damaged or of another network.
    """

    def __init__(self, folder: Path) -> None:
        missing = [name for name in (_IDENTITY, _LANDMARKS, _EXPRESSION, *_POSE) if not (folder / name).is_file()]
        if missing:
            raise InputError(f"{folder} has no {missing[0]}: name the folder with the teachers' weights")
        self._identity = _engine(nets.build("mobilefacenet"), identity_file(folder))
        self._landmarks = _engine(_FaceApiNet(136), folder / _LANDMARKS)
        self._expression = _engine(_FaceApiNet(7), folder / _EXPRESSION)
        self._poses = [_pose_net(folder / name) for name in _POSE]

    def __call__(self, faces: Image) -> Labels:
        """Labels of ``(n, size, size, 3) uint8 RGB`` aligned faces (FFHQ frame)."""
        mirrored, landmarks = np.ascontiguousarray(faces[:, :, ::-1]), self.landmarks(faces)
        return Labels(
            identity=self._recognise(faces),
            mirrored=self._recognise(mirrored),
            pose=self._turn(faces),
            landmarks=landmarks,
            expression=_mean(self._read(faces, landmarks), self._read(mirrored, mirrored_landmarks(landmarks))),
        )

    def landmarks(self, faces: Image) -> FloatArray:
        """``(n, 68, 2)``, as of :class:`Labels`; the mean of what is found in the faces and in their mirror images."""
        mirrored = np.ascontiguousarray(faces[:, :, ::-1])
        return _mean(self._find(faces), mirrored_landmarks(self._find(mirrored)))

    def _recognise(self, faces: Image) -> FloatArray:
        landmarks = ffhq_template(faces.shape[1])
        answers = self._identity(np.concatenate([identity_input(face, landmarks) for face in faces]))[0]
        embeddings: FloatArray = answers / np.linalg.norm(answers, axis=1, keepdims=True)
        return embeddings

    def _find(self, faces: Image) -> FloatArray:
        """Landmarks by two looks: at the box of any aligned face, then at what the first one found."""
        found = self._landmarks_in(faces, np.tile([*_BOX_CENTRE, _BOX_SIDE], (len(faces), 1)))
        return self._landmarks_in(faces, _boxes_around(found))

    def _landmarks_in(self, faces: Image, boxes: NDArray[np.float64]) -> FloatArray:
        answers = self._landmarks(_face_api_input(faces, boxes))[0].reshape(-1, 68, 2)
        corner = boxes[:, :2] - boxes[:, 2:] / 2
        return (corner[:, None] + answers * boxes[:, None, 2:]).astype(np.float32)

    def _read(self, faces: Image, landmarks: FloatArray) -> FloatArray:
        logits = self._expression(_face_api_input(faces, _boxes_around(landmarks)))[0]
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities: FloatArray = powers / powers.sum(axis=1, keepdims=True)
        return probabilities

    def _turn(self, faces: Image) -> FloatArray:
        boxes = np.tile([*_BOX_CENTRE, _POSE_SIDE], (len(faces), 1))
        crops = _cut(faces, boxes, _POSE_SIZE)[..., ::-1].astype(np.float32)
        batch = np.ascontiguousarray((crops - np.float32(127.5)).transpose(0, 3, 1, 2)) / np.float32(128)
        answers = [np.concatenate([net(face[None]) for face in batch]) for net in self._poses]
        pose: FloatArray = np.mean(answers, axis=0, dtype=np.float32)
        return pose


def identity_file(folder: Path) -> Path:
    """Where the weights of identity's teacher are."""
    return folder / _IDENTITY


def _mean(one: FloatArray, other: FloatArray) -> FloatArray:
    return (one + other) * np.float32(0.5)


def _engine(net: nn.Module, path: Path) -> Engine:
    try:
        net.load_state_dict(models.load_state(path))
    except RuntimeError as error:
        raise ModelError(f"{path} holds another network: {' '.join(str(error).split())[:120]}") from error
    size_hw = (_SHOWN, _SHOWN)
    return make_engine(net.float(), size_hw, device="cpu", engine="openvino", cache_key=file_sha256(path))


def _pose_net(path: Path) -> Callable[[FloatArray], FloatArray]:
    try:
        compiled = core().compile_model(core().read_model(str(path)), "CPU", {"INFERENCE_NUM_THREADS": 1})
    except RuntimeError as error:
        raise ModelError(f"{path} is no network that OpenVINO can read") from error
    return lambda batch: np.asarray(compiled(batch)[0], np.float32)


def _boxes_around(landmarks: FloatArray) -> NDArray[np.float64]:
    """``(n, 3)``: centre x, y and side of the squares around landmarks, with room."""
    low, high = landmarks.min(axis=1), landmarks.max(axis=1)
    side = (high - low).max(axis=1, keepdims=True) * _MARGIN
    return np.concatenate([(low + high) / 2, side], axis=1).astype(np.float64)


def _cut(faces: Image, boxes: NDArray[np.float64], size: int) -> NDArray[np.uint8]:
    """Squares of faces, ``(n, size, size, 3) uint8 RGB``; boxes are parts of the side."""
    cut = np.empty((len(faces), size, size, 3), np.uint8)
    for target, face, (x, y, side) in zip(cut, faces, boxes, strict=True):
        scale = size / (side * len(face))
        move = [(0.5 - x / side) * size - 0.5 + scale / 2, (0.5 - y / side) * size - 0.5 + scale / 2]
        affine = np.array([[scale, 0, move[0]], [0, scale, move[1]]])
        flags, border = cv2.INTER_LINEAR if scale > 0.75 else cv2.INTER_AREA, cv2.BORDER_REFLECT_101
        source = face if scale > 0.75 else cv2.GaussianBlur(face, (0, 0), 0.4 / scale)
        cv2.warpAffine(source, affine, (size, size), dst=target, flags=flags, borderMode=border)
    return cut


def _face_api_input(faces: Image, boxes: NDArray[np.float64]) -> FloatArray:
    crops = _cut(faces, boxes, _SHOWN).astype(np.float32)
    return np.ascontiguousarray(
        ((crops - np.array(_FACE_API_MEAN, np.float32)) / np.float32(255)).transpose(0, 3, 1, 2)
    )


def label_faces(faces: NDArray[np.uint8], folder: Path, cache: Path | None) -> Labels:
    """Labels of all faces, made once: kept in ``cache`` when that is named.

    Args:
        faces: ``(n, size, size, 3) uint8 RGB``, aligned.
        folder: of the teachers' weights.
        cache: an .npz file, written when all is labelled, read when it is there.

    Raises:
        InputError, ModelError: as for :class:`Teachers`.
    """
    if cache is not None and cache.is_file():
        with np.load(cache) as stored:
            return Labels(**stored)
    teachers = Teachers(folder)
    portions = [teachers(np.asarray(portion)) for portion in _portions(faces)]
    names = [field.name for field in fields(Labels)]
    labels = Labels(**{name: np.concatenate([getattr(portion, name) for portion in portions]) for name in names})
    if cache is not None:
        cache.parent.mkdir(parents=True, exist_ok=True)
        partial = cache.with_name(f".{cache.name}.part.npz")
        np.savez(partial, **{name: getattr(labels, name) for name in names})
        partial.replace(cache)
    return labels


def _portions(faces: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    for first in range(0, len(faces), _AT_ONCE):
        yield faces[first : first + _AT_ONCE]
