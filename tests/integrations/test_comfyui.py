"""The nodes for ComfyUI: loaded as it loads a folder of ``custom_nodes``, held to what it asks of nodes, and run."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from sample_media import face_frames, plain_frames, soft_frames

torch = pytest.importorskip("torch", reason="the extra `torch` is not installed")

PACK = Path(__file__).resolve().parents[2] / "integrations" / "comfyui"
WIDGETS = {"FLOAT", "INT", "STRING", "BOOLEAN"}
"""Types whose values are typed in, so that they need a default; others come by a link."""


@pytest.fixture(scope="module")
def pack() -> Iterator[ModuleType]:
    """As ComfyUI does it: the folder's ``__init__``, under the folder's path as its name."""
    name = str(PACK).replace(".", "_x_")
    spec = importlib.util.spec_from_file_location(name, PACK / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    yield module
    for each in [each for each in sys.modules if each.startswith(name)]:
        del sys.modules[each]


def widgets(node: Any) -> dict[str, Any]:
    """What the node is given when nobody touches its widgets."""
    required = node.INPUT_TYPES()["required"]
    return {name: options["default"] for name, (_, options) in required.items() if "default" in options}


def run(node: Any, images: Any, **given: Any) -> Any:
    """One execution: the function that the node names, with its inputs by name; its outputs are as many as it says."""
    with torch.inference_mode():
        made = getattr(node(), node.FUNCTION)(images=images, **{**widgets(node), **given})
    assert isinstance(made, tuple)
    assert len(made) == len(node.RETURN_TYPES)
    return made[0]


def batch(frames: list[np.ndarray], lift: float = 0.0) -> Any:
    """``(B, H, W, 3) float32``, 0..1; ``lift`` is added, less than what 8 bits tell apart."""
    return torch.from_numpy(np.stack(frames)).float() / 255 + lift


def test_the_nodes_are_what_comfyui_asks_for(pack: ModuleType) -> None:
    assert set(pack.NODE_DISPLAY_NAME_MAPPINGS) == set(pack.NODE_CLASS_MAPPINGS)
    assert pack.NODE_CLASS_MAPPINGS
    for node in pack.NODE_CLASS_MAPPINGS.values():
        assert isinstance(node.CATEGORY, str)
        assert node.RETURN_TYPES == ("IMAGE",)
        assert len(node.RETURN_NAMES) == len(node.RETURN_TYPES)
        inputs = node.INPUT_TYPES()
        assert set(inputs) <= {"required", "optional", "hidden"}
        for kind, options in inputs["required"].values():
            if isinstance(kind, list):
                assert options["default"] in kind
            elif kind in WIDGETS:
                assert "default" in options
                assert options.get("min", options["default"]) <= options["default"]
                assert options.get("max", options["default"]) >= options["default"]
            else:
                assert kind == "IMAGE"
        taken = list(inspect.signature(getattr(node, node.FUNCTION)).parameters)
        assert taken == ["self", *inputs["required"]]


@pytest.mark.parametrize("name", ["RevisageRestoreFaces", "RevisageRestoreFacesInVideo"])
def test_faces_are_restored_and_the_rest_stays_as_it_was(pack: ModuleType, name: str) -> None:
    images = batch(soft_frames(3), lift=0.0004)
    made = run(pack.NODE_CLASS_MAPPINGS[name], images)
    assert (made.shape, made.dtype) == (images.shape, torch.float32)
    assert 0 <= made.min() <= made.max() <= 1.001
    changed = (made != images).any(-1)
    assert (changed.flatten(1).float().mean(1) > 0.02).all(), "a face in each"
    assert not changed[:, :, :60].any(), "beside the face each value is the one that came in, finer than 8 bits"


@pytest.mark.parametrize("name", ["RevisageRestoreFaces", "RevisageRestoreFacesInVideo"])
def test_strength_0_is_the_same_to_the_bit(pack: ModuleType, name: str) -> None:
    images = batch(face_frames(2), lift=0.0004)
    assert torch.equal(run(pack.NODE_CLASS_MAPPINGS[name], images, strength=0.0), images)


@pytest.mark.parametrize("name", ["RevisageRestoreFaces", "RevisageRestoreFacesInVideo"])
def test_results_may_be_larger(pack: ModuleType, name: str) -> None:
    made = run(pack.NODE_CLASS_MAPPINGS[name], batch(plain_frames(2)), upscale=2.0)
    assert made.shape == (2, 240, 320, 3)


@pytest.mark.parametrize("name", ["RevisageRestoreFaces", "RevisageRestoreFacesInVideo"])
def test_alpha_is_refused_in_a_line(pack: ModuleType, name: str) -> None:
    with pytest.raises(ValueError, match="split an alpha channel off"):
        run(pack.NODE_CLASS_MAPPINGS[name], torch.zeros(1, 8, 8, 4))


def test_an_ntsc_rate_and_odd_sizes(pack: ModuleType) -> None:
    images = batch([frame[:97, :121] for frame in plain_frames(2)])
    made = run(pack.NODE_CLASS_MAPPINGS["RevisageRestoreFacesInVideo"], images, frame_rate=29.97, strength=0.0)
    assert torch.equal(made, images)
