"""The weights that some measures need: where they lie, and whether they are the ones they should be."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from revisage import models
from revisage.core import ModelError, file_sha256

__all__ = ["ALEXNET", "IDENTITY", "LPIPS_HEADS", "VGG", "Wanted", "WeightsFile", "find_weights"]


@dataclass(frozen=True)
class Wanted:
    """A file that a measure needs.

    Attributes:
        files: names under which it is known, and the SHA-256 that each has; None where it is not known here.
        remedy: how the user gets it.
    """

    files: tuple[tuple[str, str | None], ...]
    remedy: str


@dataclass(frozen=True)
class WeightsFile:
    """A file that was found."""

    path: Path
    sha256: str


ALEXNET = Wanted(
    (("alexnet-owt-7be5be79.pth", "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02"),),
    "fetch it with  revisage models pull alexnet lpips-alex",
)
LPIPS_HEADS = Wanted(
    (
        ("lpips_v0.1_alex.pth", "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0"),
        ("lpips_v0.1_alex_lin.safetensors", "99a8c5dad4e680511057f45d8e284fdcb48d9c2f55221e7d1efd9f5e775b1a45"),
        ("alex.pth", "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0"),
    ),
    "fetch it with  revisage models pull alexnet lpips-alex",
)
IDENTITY = Wanted(
    (("mobilefacenet.onnx", "b7120c095d60094f28a4a54ba6a8bf51b297a6273fb40ef6350dfec1f63d9507"),),
    "fetch it with  revisage models pull mobilefacenet",
)
VGG = Wanted(
    (
        (
            "vgg19_normalised_conv3_1.safetensors",
            "199bad58e82fe7638c3388f7bcdd83389fb874d0c92f3cfc2293674b71db58d7",
        ),
        ("vgg_normalised_conv3_1.pth", None),
    ),
    "put vgg_normalised_conv3_1.pth of github.com/pietrocarbo/deep-transfer (models/autoencoder_vgg19/vgg19_3) "
    "into the model folder or one named with --weights",
)


def find_weights(wanted: Wanted, folder: Path | None = None) -> WeightsFile:
    """The first of a file's names that is there: in ``folder`` or one below it, in the model folder, in torch's cache,
    and beside the installed package ``lpips``.

    Raises:
        ModelError: none is there, or one is another file than its name says.
    """
    for base in _folders(folder):
        for name, known in wanted.files:
            path = base / name
            if not path.is_file():
                continue
            sha256 = file_sha256(path)
            if known is not None and sha256 != known:
                raise ModelError(f"{path} is damaged or another file: its SHA-256 is {sha256}, expected {known}")
            return WeightsFile(path, sha256)
    raise ModelError(f"{wanted.files[0][0]} is not on this machine: {wanted.remedy}")


def _folders(folder: Path | None) -> Iterator[Path]:
    import torch

    for base in (folder, models.folder()):
        if base is not None and base.is_dir():
            yield base
            yield from sorted(path for path in base.iterdir() if path.is_dir())
    yield Path(torch.hub.get_dir()) / "checkpoints"
    package = importlib.util.find_spec("lpips")
    if package is not None and package.origin is not None:
        yield Path(package.origin).parent / "weights" / "v0.1"
