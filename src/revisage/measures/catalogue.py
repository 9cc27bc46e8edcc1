"""All measures: what they are called, their unit, which way is better, and where they come from.

A new measure is its function, a record here, and a line in docs/measures.md; evaluation and report take it from here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from revisage.core import ModelError
from revisage.measures.face_fidelity import Embedder, landmark_distance
from revisage.measures.full_reference import Lpips, Vggd, colour_shift, gmsd, in_tiles, ms_ssim, psnr, ssim
from revisage.measures.instruments import Find, Measure, MeasureRegistry, WeightsWanted
from revisage.measures.no_reference import BRISQUE_FILE, brisque, brisque_weights, face_sharpness, niqe, sharpness
from revisage.measures.stability import flicker, t_mse, warping_error

__all__ = ["ALEXNET", "IDENTITY", "LPIPS_HEADS", "MEASURES", "VGG"]

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
