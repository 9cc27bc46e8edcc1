"""Who somebody is, by whatever network there is: a face reader, or one that tells identities and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from revisage import engines, models, nets
from revisage.core import Crop, ModelError, file_sha256
from revisage.faces import ffhq_template, identity_input
from revisage.readers.face_reader import FaceReader, load_reader
from revisage.readers.readings import FaceReadings

__all__ = [
    "READER",
    "SAME_PERSON",
    "IdentityNetwork",
    "Recogniser",
    "is_reader_there",
    "load_identity_network",
    "load_recogniser",
    "weights_hash",
]

FloatArray = NDArray[np.float32]

READER = "compact-reader"
"""The face reader that is meant where none is named."""

SAME_PERSON = 0.45
"""Cosine of identities from which two groups of tracks, or a face and a person's photos, count as one person.

In a film of 19 people (benchmarks/people.py) two people's tracks have, by ``compact-reader`` and by MobileFaceNet, 0.60
and 0.40 at most where they are well coded and 0.61 and 0.53 where they are small and badly coded, one person's 0.78 and
0.85, and 0.16 and 0.18 at least; clear faces are therefore held to more (:mod:`revisage.people`). Of 58 faces restored
by ``compact``, clean to heavily damaged, the least alike to what it was before has 0.53."""

_IDENTITY_NET = "mobilefacenet"
_SIDE = (112, 112)


class IdentityNetwork:
    """MobileFaceNet around an engine: crops to unit vectors whose cosines tell people apart.

    Args:
        engine: runs the network.
    """

    def __init__(self, engine: engines.Engine) -> None:
        self._engine = engine

    def __call__(self, crops: Crop) -> FloatArray:
        """``(N, 128) float32`` of length one.

        Args:
            crops: ``(N, size, size, 3) uint8 RGB`` in FFHQ framing.
        """
        found = [self._engine(identity_input(crop, ffhq_template(len(crop))))[0] for crop in crops]
        vectors = np.concatenate([np.zeros((0, 128), np.float32), *found])
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def load_identity_network(file: Path) -> IdentityNetwork:
    """MobileFaceNet from its ``.onnx`` or ``.safetensors`` file.

    Raises:
        ModelError: the file is damaged, or another network's.
    """
    try:
        if file.suffix == ".onnx":
            compiled = engines.compile_model(engines.core().read_model(str(file)), "fp32")
            return IdentityNetwork(engines.OpenVinoEngine(lambda: compiled, _SIDE, "fp32"))
        net = nets.build_empty(_IDENTITY_NET, {})
        net.load_state_dict(models.load_state(file))
    except RuntimeError as error:
        raise ModelError(f"{file} is damaged or another network: {' '.join(str(error).split())[:120]}") from error
    return IdentityNetwork(engines.make_engine(net.float(), _SIDE, device="cpu", precision="fp32"))


@dataclass(frozen=True)
class Recogniser:
    """Tells people apart.

    Attributes:
        name, sha256: of the weights.
        identities: ``(N, size, size, 3) uint8 RGB`` crops in FFHQ framing to ``(N, 128) float32`` of length one.
        reader: says more of a face; None where the network tells identities only.
    """

    name: str
    sha256: str
    identities: Callable[[Crop], FloatArray]
    reader: FaceReader | None

    def __call__(self, crops: Crop) -> tuple[FloatArray, FaceReadings | None]:
        """The identities of crops, and what else there is to read of them."""
        if self.reader is None:
            return self.identities(crops), None
        readings = self.reader(crops)
        return readings.identity, readings


def is_reader_there(name_or_path: str | Path = READER) -> bool:
    """Whether a reader can be loaded without fetching anything."""
    if Path(name_or_path).expanduser().is_file():
        return True
    try:
        return models.is_present(models.find(str(name_or_path)))
    except ModelError:
        return False


def weights_hash(name_or_path: str | Path = READER) -> str | None:
    """SHA-256 of the weights of what reads faces, without loading it; None where it is not there."""
    if not is_reader_there(name_or_path):
        return None
    file = Path(name_or_path).expanduser()
    return file_sha256(file) if file.is_file() else models.verify(models.find(str(name_or_path))).sha256


def load_recogniser(name_or_path: str | Path = READER, *, device: str = "auto", engine: str = "auto") -> Recogniser:
    """What tells people apart, by name or from a file.

    Args:
        name_or_path: a face reader, or ``mobilefacenet``: then nothing but identities is known.
        device, engine: as for :func:`revisage.readers.load_reader`.

    Raises:
        ModelError: the model is unknown, absent, damaged, or tells no identities.
    """
    if str(name_or_path) == READER and not is_reader_there():
        raise ModelError(
            f"{READER} is not in this installation: name another with --reader, such as the weights of "
            f"`revisage train reader`, or {_IDENTITY_NET} after  revisage models pull {_IDENTITY_NET}"
        )
    file = _identity_file(name_or_path)
    if file is not None:
        return Recogniser(file.name, file_sha256(file), load_identity_network(file), None)
    reader = load_reader(name_or_path, device=device, engine=engine)
    return Recogniser(reader.info.name, reader.info.sha256, lambda crops: reader(crops).identity, reader)


def _identity_file(name_or_path: str | Path) -> Path | None:
    """The file of a network that tells identities only; None where something else is named."""
    path = Path(name_or_path).expanduser()
    if not path.is_file():
        if not str(name_or_path).lower().startswith(_IDENTITY_NET):
            return None
        return models.verify(models.find(str(name_or_path))).path
    if path.suffix.lower() == ".onnx":
        return path
    if path.suffix.lower() != ".safetensors" or "arch" in models.metadata(path):
        return None
    return path if nets.infer_arch(models.load_state(path))[0] == _IDENTITY_NET else None
