"""What a measure is, which of them this machine can take, and all there are: name, unit, direction, paper.

A new measure is its function, a record here, and a line in docs/measures.md; evaluation and report take it from here.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from revisage import models
from revisage.core import MissingExtraError, ModelError, file_sha256
from revisage.measures.face_fidelity import Embedder, landmark_distance
from revisage.measures.full_reference import Lpips, Vggd, colour_shift, gmsd, in_tiles, ms_ssim, psnr, ssim
from revisage.measures.no_reference import BRISQUE_FILE, brisque, brisque_weights, face_sharpness, niqe, sharpness
from revisage.measures.stability import flicker, t_mse, warping_error

__all__ = [
    "ALEXNET",
    "IDENTITY",
    "LPIPS_HEADS",
    "MEASURES",
    "VGG",
    "Find",
    "Instruments",
    "Measure",
    "MeasureRegistry",
    "WeightsFile",
    "WeightsWanted",
    "find_weights",
]


Better = Literal["higher", "lower", "reference"]
Subject = Literal["image", "crop", "pair", "frames", "face", "track"]


@dataclass(frozen=True)
class WeightsWanted:
    """A file that a measure needs.

    Attributes:
        network: what the file is part of, by the name that records use.
        files: names under which it is known, and the SHA-256 that each has; None where it is not known here.
        remedy: how the user gets it.
    """

    network: str
    files: tuple[tuple[str, str | None], ...]
    remedy: str


@dataclass(frozen=True)
class WeightsFile:
    """A file that was found."""

    path: Path
    sha256: str


Find = Callable[[WeightsWanted], Path]
"""Gives the path of a file that a measure needs, or raises ModelError with the remedy."""


@dataclass(frozen=True)
class Measure:
    """What there is to say about a measure besides its value.

    Attributes:
        name: key in records.
        title: for people.
        unit: of the value; empty for a bare number.
        better: ``higher``, ``lower``, or ``reference`` where the reference's own value is the one to come near.
        digits: decimals worth showing.
        subject: what the function takes: an ``image``; the aligned ``crop`` of a face; a ``pair`` of image and
            reference; two ``frames`` in a row of a side and of the reference (:class:`revisage.measures.FrameStep`);
            what was read from a ``face`` and from the reference's; or from the same face at several times, a
            ``track``. Images are ``(H, W, 3) uint8`` RGB.
        load: makes the function, given what finds weights. It raises ModelError or MissingExtraError where something
            is not on this machine; the function raises ValueError where the measure is not defined.
        paper: where it comes from.
        against_reference: whether each value is against the reference; else the reference has a value of its own.
        heavy: whether it costs so much more than the others that a sample of the frames has to do.
        reported: whether a run's report has it, before and after, of a sample of the restored faces: a measure of one
            ``image`` or ``crop``.
    """

    name: str
    title: str
    unit: str
    better: Better
    digits: int
    subject: Subject
    load: Callable[[Find], Callable[..., Any]]
    paper: str = ""
    against_reference: bool = True
    heavy: bool = False
    reported: bool = False

    def __post_init__(self) -> None:
        if self.subject in ("image", "crop") and self.against_reference:
            raise ValueError(f"{self.name}: what takes one {self.subject} is not against a reference")
        if self.reported and self.subject not in ("image", "crop"):
            raise ValueError(f"{self.name}: a report has measures of one image only, not of a {self.subject}")

    @property
    def faces_only(self) -> bool:
        """Whether it says nothing about whole frames."""
        return self.subject in ("crop", "face", "track")


class MeasureRegistry(Mapping[str, Measure]):
    """Measures by name, in the order in which they are shown. A plain object: copy it to add to it.

    Args:
        measures: to begin with.

    Raises:
        ValueError: two have one name.
    """

    def __init__(self, *measures: Measure) -> None:
        self._measures: dict[str, Measure] = {}
        self.add(*measures)

    def __getitem__(self, name: str) -> Measure:
        return self._measures[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._measures)

    def __len__(self) -> int:
        return len(self._measures)

    def add(self, *measures: Measure) -> None:
        """Take in all of some measures, or none of them.

        Raises:
            ValueError: a name is taken.
        """
        merged = dict(self._measures)
        for measure in measures:
            if measure.name in merged:
                raise ValueError(f"there is a measure '{measure.name}' already")
            merged[measure.name] = measure
        self._measures = merged

    def copy(self) -> MeasureRegistry:
        """Another registry with the same measures."""
        return MeasureRegistry(*self._measures.values())


class Instruments:
    """The functions of a registry's measures that this machine can take, each made once, when first asked for.

    Args:
        registry: which measures there are.
        folder: looked through for weights before the model folder.

    Attributes:
        networks: by network the ``files`` found with their SHA-256, or what is ``missing``.
    """

    def __init__(self, registry: Mapping[str, Measure], folder: Path | None = None) -> None:
        self.registry = registry
        self._folder = folder
        self._functions: dict[str, Callable[..., Any] | str] = {}
        self.networks: dict[str, dict[str, Any]] = {}

    def get(self, name: str) -> Callable[..., Any] | None:
        """The function of a measure; None where :meth:`missing` says why."""
        if name not in self._functions:
            try:
                self._functions[name] = self.registry[name].load(self._find)
            except (ModelError, MissingExtraError) as error:
                self._functions[name] = str(error)
            except ModuleNotFoundError as error:
                if error.name != "torch":
                    raise
                self._functions[name] = str(MissingExtraError(self.registry[name].title, "torch"))
        function = self._functions[name]
        return None if isinstance(function, str) else function

    def missing(self, name: str) -> str | None:
        """Why a measure cannot be taken on this machine; None when it can."""
        self.get(name)
        reason = self._functions[name]
        return reason if isinstance(reason, str) else None

    def _find(self, wanted: WeightsWanted) -> Path:
        about = self.networks.setdefault(wanted.network, {})
        try:
            found = find_weights(wanted, self._folder)
        except ModelError as error:
            about["missing"] = str(error)
            raise
        files = about.setdefault("files", [])
        entry = {"file": found.path.name, "sha256": found.sha256}
        if entry not in files:  # several measures use one network
            files.append(entry)
        return found.path


def find_weights(wanted: WeightsWanted, folder: Path | None = None) -> WeightsFile:
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
    for base in (folder, models.folder()):
        if base is not None and base.is_dir():
            yield base
            yield from sorted(path for path in base.iterdir() if path.is_dir())
    if importlib.util.find_spec("torch") is not None:
        import torch

        yield Path(torch.hub.get_dir()) / "checkpoints"
    package = importlib.util.find_spec("lpips")
    if package is not None and package.origin is not None:
        yield Path(package.origin).parent / "weights" / "v0.1"


ALEXNET = WeightsWanted(
    "lpips",
    (("alexnet-owt-7be5be79.pth", "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02"),),
    "fetch it with  revisage models pull alexnet lpips-alex",
)
LPIPS_HEADS = WeightsWanted(
    "lpips",
    (
        ("lpips_v0.1_alex.pth", "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0"),
        ("lpips_v0.1_alex_lin.safetensors", "99a8c5dad4e680511057f45d8e284fdcb48d9c2f55221e7d1efd9f5e775b1a45"),
        ("alex.pth", "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0"),
    ),
    "fetch it with  revisage models pull alexnet lpips-alex",
)
IDENTITY = WeightsWanted(
    "identity",
    (("mobilefacenet.onnx", "b7120c095d60094f28a4a54ba6a8bf51b297a6273fb40ef6350dfec1f63d9507"),),
    "fetch it with  revisage models pull mobilefacenet",
)
VGG = WeightsWanted(
    "vggd",
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


def _plain(function: Callable[..., Any]) -> Callable[[Find], Callable[..., Any]]:
    """For a function that needs no weights."""
    return lambda find: function  # noqa: ARG005 - what the others are given


def _lpips(find: Find) -> Callable[..., float]:
    return partial(in_tiles, Lpips(find(ALEXNET), find(LPIPS_HEADS)))


def _vggd(find: Find) -> Callable[..., float]:
    return partial(in_tiles, Vggd(find(VGG)))


def _brisque(find: Find) -> Callable[..., float]:  # noqa: ARG001 - piq looks into torch's cache itself
    if brisque_weights() is None:
        raise ModelError(f"piq's weights are not here: {BRISQUE_FILE}, which piq.brisque() fetches into torch's cache")
    return brisque


def _embedder(find: Find) -> Embedder:
    return Embedder(find(IDENTITY))


MEASURES = MeasureRegistry(
    Measure("psnr", "PSNR", "dB", "higher", 2, "pair", _plain(psnr)),
    Measure("ssim", "SSIM", "", "higher", 4, "pair", _plain(ssim), "Wang et al., IEEE TIP 2004"),
    Measure(
        *("ms_ssim", "MS-SSIM", "", "higher", 4, "pair", _plain(ms_ssim)),
        paper="Wang, Simoncelli, Bovik, Asilomar 2003",
        heavy=True,
    ),
    Measure("lpips", "LPIPS", "", "lower", 4, "pair", _lpips, "Zhang et al., CVPR 2018", heavy=True),
    Measure("vggd", "VGGD", "", "lower", 4, "pair", _vggd, heavy=True),
    Measure("gmsd", "GMSD", "", "lower", 4, "pair", _plain(gmsd), "Xue et al., IEEE TIP 2014"),
    Measure(
        *("niqe", "NIQE", "", "lower", 2, "image", _plain(niqe)),
        paper="Mittal, Soundararajan, Bovik, IEEE SPL 2013",
        against_reference=False,
        heavy=True,
        reported=True,
    ),
    Measure(
        *("brisque", "BRISQUE", "", "lower", 1, "image", _brisque),
        paper="Mittal, Moorthy, Bovik, IEEE TIP 2012",
        against_reference=False,
        heavy=True,
    ),
    Measure(
        *("sharpness", "sharpness", "", "reference", 1, "image", _plain(sharpness)),
        paper="Pech-Pacheco et al., ICPR 2000",
        against_reference=False,
    ),
    Measure(
        *("face_sharpness", "sharpness of faces", "", "reference", 2, "crop", _plain(face_sharpness)),
        paper="Laplacian of Pech-Pacheco et al., ICPR 2000, over that at half the size",
        against_reference=False,
        reported=True,
    ),
    Measure("colour_shift", "colour shift", "ΔE", "lower", 2, "pair", _plain(colour_shift), "Sharma, Wu, Dalal, 2005"),
    Measure("ids", "identity (IDS)", "", "higher", 3, "face", _embedder, "Deng et al., CVPR 2019"),
    Measure("ids_spread", "identity spread", "", "lower", 4, "track", _embedder),
    Measure(
        *("vidd", "identity jitter (VIDD)", "", "reference", 4, "track", _embedder),
        paper="FIR2FVR, arXiv 2410.11828",
        against_reference=False,
    ),
    Measure("lmd", "landmarks (LMD)", "px", "lower", 2, "face", _plain(landmark_distance), "Chen et al., ECCV 2018"),
    Measure("tmse", "T-MSE", "", "lower", 2, "frames", _plain(t_mse), "dtSSD of Erofeev et al., BMVC 2015, squared"),
    Measure(
        *("warping_error", "warping error", "×10⁻³", "reference", 3, "frames", _plain(warping_error)),
        paper="Lai et al., ECCV 2018",
        against_reference=False,
    ),
    Measure("flicker", "flicker", "1/255", "reference", 3, "frames", _plain(flicker), against_reference=False),
)
"""All measures, in the order in which they are shown."""
