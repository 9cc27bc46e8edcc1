"""RAFT's way through torchvision, with weights drawn at random: what it finds then is meaningless, its form is not."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from revisage.core.errors import MissingExtraError
from revisage.temporal.flow import load_raft


def test_without_torchvision_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'revisage\[flow\]'"):
        load_raft("cpu")


@pytest.mark.parametrize("size", ["small", pytest.param("large", marks=pytest.mark.slow)])
def test_either_net_is_known_by_its_weights(size: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    models = pytest.importorskip("torchvision.models.optical_flow", reason="needs the extra flow")
    torch.manual_seed(1)
    net = getattr(models, f"raft_{size}")(weights=None, progress=False)
    torch.save(net.state_dict(), tmp_path / "raft.pth")
    raft = load_raft("cpu", tmp_path / "raft.pth")
    pair = np.random.default_rng(0).integers(0, 255, (2, 60, 130), np.uint8)
    flow = raft(pair[0], pair[1])
    assert (flow.shape, flow.dtype) == ((60, 130, 2), np.float32)
    assert np.isfinite(flow).all()
    assert np.array_equal(flow, raft(pair[0], pair[1]))
    with pytest.raises(ValueError, match="of one size"):
        raft(pair[0], pair[1][:, 1:])
