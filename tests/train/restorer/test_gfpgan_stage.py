"""GFP-GAN's stage: every loss on its own net, fine-tuning, accumulation, several processes, what is kept and shown."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from runs import SMALL, SMALL_GFPGAN, config_of, log_of, losses_of, same
from safetensors.torch import save_file

from revisage import nets
from revisage.core.errors import ConfigError, DeviceError, InputError, ModelError
from revisage.restorers import load_restorer
from revisage.train.networks import architecture_of, build_restorer
from revisage.train.restorer import pairs, train_restorer
from revisage.train.run_folder import read_checkpoint
from revisage.train.settings import GFPGANConfig


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("identity") / "arcface.safetensors"
    save_file(nets.build("arcface_resnet18").state_dict(), path)
    return path


EVERY_LOSS: dict[str, Any] = {
    "pixel_loss": "l1",
    "structure_weight": 0.3,
    "perceptual_loss": "l1",
    "style_weight": 50,
    "adversary": "stylegan2",
    "adversary_width": 0.0625,
    "adversarial_weight": 0.1,
    "component_weight": 1.0,
    "component_style_weight": 200,
    "component_channels": (4, 4, 8),
    "identity_weight": 10,
    "schedule": "halving",
}


@pytest.fixture(scope="module")
def whole(material: Path, recogniser: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four steps of a gfpgan-clean with every loss."""
    run = tmp_path_factory.mktemp("whole") / "run"
    train_restorer(config_of(material, net=SMALL_GFPGAN, identity=recogniser, **EVERY_LOSS), run)
    return run


def test_every_loss_is_there_and_finite(whole: Path) -> None:
    names = {"pixel", "structure", "pyramid", "perceptual", "style", "identity", "adversarial", "components"}
    for line in log_of(whole)[1:]:
        assert names | {"component_style", "adversary", "component_adversaries", "gradient"} <= line.keys()
        assert all(math.isfinite(value) for value in line.values())
    content = read_checkpoint(whole)
    assert {"net", "average", "optimiser", "adversary", "components", "components_optimiser"} <= content.keys()


def test_a_loss_without_weight_is_not_computed(material: Path, tmp_path: Path) -> None:
    changes = {"perceptual_weight": 0, "pyramid_weight": 0.1, "pyramid_end": 1, "vgg": None, "steps": 2}
    train_restorer(config_of(material, **changes), tmp_path / "run")
    first, second = log_of(tmp_path / "run")[1:]
    assert {"pixel", "pyramid"} <= first.keys() and not {"perceptual", "structure"} & first.keys()
    assert "pyramid" not in second


@pytest.mark.slow
def test_resuming_every_part_gives_the_same_bits(material: Path, recogniser: Path, whole: Path, tmp_path: Path) -> None:
    """Two steps and two more: both halvings come after the second, however many will follow."""
    config = config_of(material, net=SMALL_GFPGAN, identity=recogniser, **EVERY_LOSS)
    train_restorer(config.model_copy(update={"steps": 2}), tmp_path / "run")
    train_restorer(config, tmp_path / "run", resume=True)
    ours, theirs = read_checkpoint(tmp_path / "run"), read_checkpoint(whole)
    assert all(same(ours[name], theirs[name]) for name in theirs)


def test_a_frozen_prior_stays_as_it_is(material: Path, tmp_path: Path) -> None:
    config = config_of(material, net=SMALL_GFPGAN, decoder_rate=0, perceptual_weight=0, steps=2)
    train_restorer(config, tmp_path / "run")
    content = read_checkpoint(tmp_path / "run")
    torch.manual_seed(config.seed)
    begun = build_restorer(config.net).state_dict()
    for name, value in content["net"].items():
        if name.startswith("stylegan_decoder."):
            assert torch.equal(value, begun[name]), name
    assert not torch.equal(content["net"]["final_linear.weight"], begun["final_linear.weight"])


def test_small_batches_add_up_to_a_large_one(material: Path, tmp_path: Path) -> None:
    changes = {"adversarial_weight": 0.01, "steps": 3, "net": SMALL.model_copy(update={"size": 32})}
    train_restorer(config_of(material, batch=4, **changes), tmp_path / "large")
    train_restorer(config_of(material, batch=2, accumulate=2, **changes), tmp_path / "small")
    for name in ("pixel", "perceptual", "adversarial", "adversary"):
        large, small = losses_of(tmp_path / "large", name), losses_of(tmp_path / "small", name)
        assert small == pytest.approx(large, rel=2e-3), name


@pytest.mark.slow
def test_two_processes_learn_as_one_with_twice_the_batch(material: Path, tmp_path: Path) -> None:
    changes = {"component_weight": 0.1, "adversarial_weight": 0.01, "component_channels": (4, 4, 8), "steps": 12}
    alone = config_of(material, batch=4, **changes)
    train_restorer(alone, tmp_path / "alone")
    (tmp_path / "pair.json").write_text(alone.model_copy(update={"batch": 2}).model_dump_json())
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "revisage", "train", "restorer"]
    subprocess.run(
        [sys.executable, *words, str(tmp_path / "pair"), "--config", str(tmp_path / "pair.json")],
        check=True,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    for name in ("pixel", "pyramid", "perceptual", "adversarial", "components", "gradient"):
        one, two = losses_of(tmp_path / "alone", name), losses_of(tmp_path / "pair", name)
        assert two == pytest.approx(one, rel=5e-3), name
    assert len(losses_of(tmp_path / "pair", "pixel")) == 12  # one log, not two


def test_half_precision_scales_its_gradients(material: Path, tmp_path: Path) -> None:
    config = config_of(material, precision="fp16", perceptual_weight=0, steps=2)
    train_restorer(config, tmp_path / "run")
    content = read_checkpoint(tmp_path / "run")
    assert content["scaler"]["scale"] > 1
    assert all(math.isfinite(loss) for loss in losses_of(tmp_path / "run", "pixel"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there(material: Path, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="set device=cpu"):
        train_restorer(config_of(material, device="cuda"), tmp_path / "run")


def test_fine_tuning_starts_from_weights_and_takes_their_net(material: Path, whole: Path, tmp_path: Path) -> None:
    settings = config_of(material, steps=1, start=str(whole), perceptual_weight=0, learning_rate=1e-12, ema=0.0)
    free = settings.model_validate({**settings.model_dump(exclude={"net"}), "start": str(whole)})
    train_restorer(free, tmp_path / "run")
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    assert record["net"]["architecture"] == "gfpgan-clean"
    ours, theirs = read_checkpoint(tmp_path / "run")["net"], read_checkpoint(whole)["average"]
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-6) for name in theirs)
    with pytest.raises(ConfigError, match=r"holds a net of another .*architecture.*leave net out"):
        train_restorer(settings, tmp_path / "other")


def test_a_trained_compact_grows_and_muon_moves_its_kernels(material: Path, tmp_path: Path) -> None:
    changes = {"perceptual_weight": 0, "steps": 1, "ema": 0.0}
    train_restorer(config_of(material, **changes), tmp_path / "small")
    grown = SMALL.model_copy(update={"detail_blocks": (1,)})
    more = {**changes, "start": str(tmp_path / "small"), "learning_rate": 1e-12, "warm_up_steps": 0}
    train_restorer(config_of(material, net=grown, optimiser="muon", **more), tmp_path / "grown")
    small, large = read_checkpoint(tmp_path / "small"), read_checkpoint(tmp_path / "grown")
    assert all(torch.allclose(large["average"][name], value, atol=1e-6) for name, value in small["average"].items())
    assert len(large["kernels_optimiser"]["state"]) > 5
    back = {**more, "start": str(tmp_path / "grown")}
    with pytest.raises(ModelError, match=r"do not fit the net: detail\.0\.0"):
        train_restorer(config_of(material, **back), tmp_path / "back")


def test_fine_tuning_the_embedded_model(material: Path, tmp_path: Path) -> None:
    settings = config_of(material, steps=1, batch=1, perceptual_weight=0)
    with pytest.raises(InputError, match=r"no training image of 256 px or more.*64x64"):
        train_restorer(settings.model_validate({**settings.model_dump(exclude={"net"}), "start": "compact"}), tmp_path)


def test_a_checkpoint_of_another_architecture_is_refused(material: Path, whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train_restorer(config_of(material, steps=1, perceptual_weight=0), run)
    (run / "last.pt").write_bytes((whole / "last.pt").read_bytes())
    with pytest.raises(InputError, match="does not fit this run's net: it is of another architecture"):
        train_restorer(config_of(material, steps=2, perceptual_weight=0), run, resume=True)
    (tmp_path / "wrong.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match=r"wrong\.safetensors is empty"):
        train_restorer(config_of(material, start=str(tmp_path / "wrong.safetensors")), tmp_path / "x")


def test_an_adversary_may_join_later(material: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    changes = {"perceptual_weight": 0, "component_channels": (4, 4, 8)}
    train_restorer(config_of(material, steps=1, **changes), run)
    train_restorer(config_of(material, steps=2, component_weight=1.0, **changes), run, resume=True)
    assert [line["part"] for line in log_of(run) if line.get("event") == "new part"] == [
        "components",
        "components_optimiser",
    ]
    assert "components" in log_of(run)[-1]


def test_a_loss_that_lacks_its_network_says_so(material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REVISAGE_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with pytest.raises(ConfigError, match="the perceptual loss needs a VGG19: set vgg"):
        train_restorer(config_of(material, vgg=None), tmp_path / "run")
    with pytest.raises(ModelError, match=r"not installed: put vgg19-dcbb9e9d\.pth into"):
        train_restorer(config_of(material, perceptual_vgg="torchvision"), tmp_path / "run")
    with pytest.raises(ModelError, match=r"small\.safetensors does not hold the VGG19"):
        save_file({"0.weight": torch.zeros(3, 3, 1, 1)}, tmp_path / "small.safetensors")
        train_restorer(config_of(material, vgg=tmp_path / "small.safetensors"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_best_check_is_kept(material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NIQE stands for a measure from elsewhere: it is best at the first of three checks."""
    (tmp_path / "faces").mkdir()
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "faces" / "a.png"), cv2.resize(image, (64, 64)))
    values = iter([3.0, 1.0, 1.0, 5.0, 4.0, 4.0, 0.5, 2.0, 2.0])
    config = config_of(
        material,
        steps=3,
        perceptual_weight=0,
        validation=tmp_path / "faces",
        validation_size=64,
        validate_every=1,
        best_by=("paper", "niqe"),
        tensorboard=False,
    )
    monkeypatch.setattr(pairs, "niqe", lambda _: next(values))
    train_restorer(config, tmp_path / "run")
    checks = [line for line in log_of(tmp_path / "run") if "validation" in line]
    assert [line["best"] for line in checks] == [1.0, 1.0, 1.0]
    best = read_checkpoint(tmp_path / "run" / "best.pt")
    assert best["step"] == 1 and best["best"] == 1.0
    assert not same(best["average"], read_checkpoint(tmp_path / "run")["average"])


def test_tensorboard_gets_losses_measures_and_pictures(material: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "faces").mkdir()
    cv2.imwrite(str(tmp_path / "faces" / "a.png"), np.full((64, 64, 3), 99, np.uint8))
    watch = {"validation": tmp_path / "faces", "validation_size": 64, "validate_every": 1, "tensorboard": True}
    train_restorer(config_of(material, steps=1, perceptual_weight=0, **watch), tmp_path / "run")
    events = b"".join(file.read_bytes() for file in (tmp_path / "run" / "tensorboard").iterdir())
    assert all(name in events for name in (b"pixel", b"validation/medium/psnr", b"grid"))


def test_what_is_trained_is_what_restore_loads(material: Path, whole: Path, tmp_path: Path) -> None:
    """The architecture's name and settings, with the averaged weights, are a model of their own."""
    config = GFPGANConfig.model_validate({key: value for key, value in SMALL_GFPGAN.items() if key != "architecture"})
    architecture, settings = architecture_of(config)
    average = read_checkpoint(whole)["average"]
    record = {"revisage": json.dumps({"arch": architecture, "config": settings})}
    save_file({key: value.contiguous() for key, value in average.items()}, tmp_path / "m.safetensors", metadata=record)
    restorer = load_restorer(tmp_path / "m.safetensors", device="cpu", engine="torch")
    assert restorer.size == 64
    assert restorer(np.full((2, 64, 64, 3), 100, np.uint8)).shape == (2, 64, 64, 3)
    assert GFPGANConfig.from_settings(settings) == config


@pytest.mark.parametrize(
    ("net", "message"),
    [
        ({"architecture": "gfpgan-clean", "size": 96}, "power of two"),
        ({"architecture": "gfpgan-clean", "narrow": 0.003}, "even number of channels"),
        ("resnet", "unknown architecture 'resnet': choose compact, compact-fine or gfpgan-clean"),
        ({"architecture": "gfpgan-clean", "channels": [1, 2]}, "channels"),
    ],
)
def test_a_net_that_cannot_be_built(material: Path, net: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config_of(material, net=net)


def test_rates_are_halved_twice(material: Path) -> None:
    config = config_of(material, steps=80, warm_up_steps=0, learning_rate=1.0, schedule="halving")
    rates = [config.rate_at(step) for step in range(80)]
    assert (rates[0], rates[59], rates[60], rates[69], rates[70], rates[79]) == (1, 1, 0.5, 0.5, 0.25, 0.25)
