"""Recognise a network by the keys and shapes of its state dict alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["Shapes", "recognise"]

Shapes = Mapping[str, tuple[int, ...]]
Found = tuple[str, dict[str, Any]]


def recognise(shapes: Shapes) -> Found | None:
    """Architecture name and settings for `revisage.nets.build`, or None when no network has these keys.

    shapes: state-dict key to shape. Only a few telling keys are looked at; loading the weights checks the rest.
    """
    for key, read in _SIGNS.items():
        if key in shapes:
            try:
                return read(shapes)
            except (KeyError, IndexError, ValueError, ZeroDivisionError):
                return None
    return None


def _count(shapes: Shapes, prefix: str, suffix: str) -> int:
    return sum(key.startswith(prefix) and key.endswith(suffix) for key in shapes)


def _differing(settings: dict[str, Any], official: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if official[name] != value}


def _style_settings(shapes: Shapes, prefix: str) -> dict[str, Any]:
    """Size and widths of a StyleGAN2 decoder whose keys start with `prefix`."""
    levels = 2 + _count(shapes, f"{prefix}to_rgbs.", ".bias") // 2
    top = f"{prefix}style_convs.{2 * levels - 5}.modulated_conv.weight"
    features = shapes[f"{prefix}constant_input.weight"][1]
    narrow = features / 512
    size = 2**levels
    # Scales up to 32 px do not show the multiplier; 1 is as good as any there.
    multiplier = shapes[top][1] * size / (16384 * narrow) if size > 32 else 1
    return {
        "out_size": size,
        "num_style_feat": shapes[f"{prefix}style_conv1.modulated_conv.modulation.weight"][1],
        "channel_multiplier": _whole(multiplier),
        "num_mlp": _count(shapes, f"{prefix}style_mlp.", ".weight"),
        "narrow": _whole(narrow),
    }


def _whole(value: float) -> float:
    return int(value) if value == int(value) else value


_OFFICIAL_STYLE = {"out_size": 512, "num_style_feat": 512, "channel_multiplier": 1, "num_mlp": 8, "narrow": 1}


def _gfpgan(shapes: Shapes) -> Found:
    clean = "conv_body_first.weight" in shapes
    name, multiplier = ("gfpgan_clean", 2) if clean else ("gfpgan_v1", 1)
    settings = _style_settings(shapes, "stylegan_decoder.")
    latents = shapes["final_linear.weight"][0] // settings["num_style_feat"]
    scale = shapes["condition_scale.0.2.weight"]
    settings["different_w"] = latents > 1
    settings["sft_half"] = scale[0] == scale[1]
    official = {**_OFFICIAL_STYLE, "channel_multiplier": multiplier, "different_w": True, "sft_half": True}
    changed = _differing(settings, official)
    return (name, settings) if changed else (f"{name}_512", {})


def _stylegan2(shapes: Shapes) -> Found:
    if "style_conv1.activate.bias" not in shapes:
        raise ValueError("only the original prior is published")
    settings = _style_settings(shapes, "")
    return "stylegan2_512", _differing(settings, _OFFICIAL_STYLE)


def _rrdbnet(shapes: Shapes) -> Found:
    features, folded = shapes["conv_first.weight"][:2]
    out_channels = shapes["conv_last.weight"][0]
    fold = math.isqrt(folded // out_channels)
    settings = {
        "num_in_ch": folded // fold**2,
        "num_out_ch": out_channels,
        "num_feat": features,
        "num_block": _count(shapes, "body.", ".rdb1.conv1.weight"),
        "num_grow_ch": shapes["body.0.rdb1.conv1.weight"][0],
    }
    official = {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 64, "num_block": 23, "num_grow_ch": 32}
    scale = 4 // fold
    name, preset = (f"rrdbnet_x{scale}", {}) if scale in (2, 4) else ("rrdbnet", {"scale": scale})
    return name, {**preset, **_differing(settings, official)}


def _srvgg(shapes: Shapes) -> Found:
    convolutions = [key for key, shape in shapes.items() if len(shape) == 4]
    features, in_channels = shapes["body.0.weight"][:2]
    last = max(int(key.split(".")[1]) for key in convolutions)
    settings = {
        "num_in_ch": in_channels,
        "num_out_ch": in_channels,
        "num_feat": features,
        "num_conv": len(convolutions) - 2,
        "upscale": math.isqrt(shapes[f"body.{last}.weight"][0] // in_channels),
    }
    official = {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 64, "num_conv": 32, "upscale": 4}
    changed = _differing(settings, official)
    return ("srvgg", settings) if "upscale" in changed else ("srvgg_x4", changed)


def _parsenet(shapes: Shapes) -> Found:
    classes = shapes["out_mask_conv.conv2d.weight"][0]
    return "parsenet_512", {} if classes == 19 else {"parsing_ch": classes}


def _fixed(name: str) -> Callable[[Shapes], Found]:
    return lambda _shapes: (name, {})


# A key that only this network has, and how to read the rest; looked through in this order.
_SIGNS: Mapping[str, Callable[[Shapes], Found]] = {
    "stylegan_decoder.constant_input.weight": _gfpgan,
    "constant_input.weight": _stylegan2,
    "quantize.embedding.weight": _fixed("restoreformer_512"),
    "body.stage1.0.0.weight": _fixed("retinaface_mobile0_25"),
    "LandmarkHead.0.conv1x1.weight": _fixed("retinaface_resnet50"),
    "out_mask_conv.conv2d.weight": _parsenet,
    "gdconv.depthwise.weight": _fixed("mobilefacenet"),
    "fc5.weight": _fixed("arcface_resnet18"),
    "body.0.rdb1.conv1.weight": _rrdbnet,
    "body.0.weight": _srvgg,
}
