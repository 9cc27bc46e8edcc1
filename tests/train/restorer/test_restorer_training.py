"""The restorer's training: it learns, goes on bit for bit, stops with a reason, and exports what it learnt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from pydantic import ValidationError
from runs import SMALL, config_of, log_of, losses_of, same, stopping_at

from revisage import models, nets
from revisage.core import partial_path
from revisage.core.errors import ConfigError, DiskFullError, InputError, OutputError, ProcessingError
from revisage.train.degrade.presets import PRESETS, DegradationConfig
from revisage.train.export import export_run
from revisage.train.loop import Draws
from revisage.train.restorer import train_restorer
from revisage.train.restorer.training import RestorerStage
from revisage.train.run_folder import RunFolder, read_checkpoint, write_checkpoint


def test_it_learns_eight_faces(material: Path, tmp_path: Path) -> None:
    """Faces at half their brightness: what was lost is plain, so the loss falls to a tenth in a few seconds."""
    darkened = DegradationConfig(
        blur_sigma=(0.0, 0.0),
        downsample=(16.0, 16.0),  # one pixel of these small faces
        noise_sigma=(0.0, 0.0),
        jpeg_probability=0.0,
        colour_shift_probability=0.0,
        colour_jitter_probability=1.0,
        brightness=(0.5, 0.5),
        contrast=(1.0, 1.0),
        saturation=(1.0, 1.0),
        hue=(0.0, 0.0),
        grey_probability=0.0,
    )
    changes = {"steps": 200, "batch": 8, "learning_rate": 4e-3, "warm_up_steps": 10, "tone_probability": 0}
    changes.update(pyramid_weight=0, perceptual_weight=0, checkpoint_every=200)
    net = SMALL.model_copy(update={"size": 32})
    config = config_of(material, mixture=[("darkened", 1.0)], net=net, **changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "darkened", darkened)
        train_restorer(config, tmp_path / "run")
    losses = losses_of(tmp_path / "run", "pixel")
    assert np.mean(losses[-10:]) < 0.1 * losses[0]


@pytest.mark.parametrize("adversary", ["patch", "features"])
def test_a_resumed_run_gives_the_same_bits(material: Path, tmp_path: Path, adversary: str) -> None:
    settings = {"adversary": adversary, "adversarial_weight": 0.01, "adversarial_start": 1}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train_restorer(config_of(material, **settings), whole)
    # Stopped after the checkpoint of step 2, as by a kill: the schedule is that of the whole run.
    with pytest.raises(KeyboardInterrupt):
        train_restorer(config_of(material, **settings), parts, progress=stopping_at(3))
    assert read_checkpoint(parts)["step"] == 2
    train_restorer(config_of(material, **settings), parts, resume=True)
    assert same(read_checkpoint(parts), read_checkpoint(whole))
    last, last_again = log_of(whole)[-1], log_of(parts)[-1]
    for name in ("pixel", "pyramid", "perceptual", "adversarial", "adversary", "gradient"):
        assert last[name] == last_again[name]


def test_an_adversary_of_features_needs_them(material: Path) -> None:
    settings = {"adversary": "features", "adversarial_weight": 0.1}
    with pytest.raises(ValidationError, match="judges what the perceptual loss sees: set perceptual_weight above 0"):
        config_of(material, perceptual_weight=0, **settings)
    with pytest.raises(ValidationError, match="judges by the small backbone of vgg: leave perceptual_vgg out"):
        config_of(material, perceptual_vgg="torchvision", **settings)


def test_a_loss_that_bursts_stops_with_step_and_checkpoint(material: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RestorerStage, "_losses", bursting_losses(at=2))
        with pytest.raises(ProcessingError, match=r"step 3 \(samples 4 to 5\).*last\.pt"):
            train_restorer(config_of(material), tmp_path / "run")
    assert read_checkpoint(tmp_path / "run")["step"] == 2


def bursting_losses(at: int) -> Any:
    losses = RestorerStage._losses

    def bursting(stage: RestorerStage, draws: Draws, *rest: Any) -> Any:
        found = losses(stage, draws, *rest)
        return {**found, "pixel": found["pixel"] * float("nan")} if draws.step == at else found

    return bursting


def test_a_full_disk_leaves_the_old_checkpoint(material: Path, tmp_path: Path) -> None:
    """No file of this process may grow beyond what half a checkpoint takes, as on a disk that fills up."""
    resource = pytest.importorskip("resource")
    run = tmp_path / "run"
    train_restorer(config_of(material, steps=2), run)
    before = (run / "last.pt").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
    try:
        with pytest.raises(OutputError, match=r"cannot write .*last\.pt: .*the checkpoint before it is intact"):
            train_restorer(config_of(material, steps=4), run, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (run / "last.pt").read_bytes() == before
    assert not partial_path(run / "last.pt").exists()


def test_a_full_disk_is_told_as_such(tmp_path: Path) -> None:
    """/dev/full takes nothing; torch's own writer fails there with a message about positions in a file."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    partial_path(tmp_path / "last.pt").symlink_to("/dev/full")
    with pytest.raises(DiskFullError, match=r"no space left for .*last\.pt; free some"):
        write_checkpoint(tmp_path / "last.pt", {"step": 1, "average": torch.zeros(200_000)})
    assert not (tmp_path / "last.pt").exists()
    (tmp_path / "log.jsonl").symlink_to("/dev/full")
    run = RunFolder(tmp_path, config_of(tmp_path), stage="restorer", resume=False)
    with pytest.raises(DiskFullError, match=r"no space left for .*log\.jsonl; free some"):
        run.log({"step": 1, "text": "x" * 100_000})
    (tmp_path / "new").mkdir()
    partial_path(tmp_path / "new" / "config.json").symlink_to("/dev/full")
    with pytest.raises(DiskFullError):
        RunFolder(tmp_path / "new", config_of(tmp_path), stage="restorer", resume=False).begin({})
    assert not (tmp_path / "new" / "config.json").exists()


def test_a_lower_rate_helps_a_run_that_burst(material: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RestorerStage, "_losses", bursting_losses(at=2))
        with pytest.raises(ProcessingError, match="resume with a lower learning rate"):
            train_restorer(config_of(material), run)
    train_restorer(config_of(material, learning_rate=1e-5), run, resume=True)
    assert log_of(run)[-1]["step"] == 4
    assert log_of(run)[-1]["rate"] < 1e-5


def test_unknown_settings_and_presets_are_refused(material: Path, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="learning_rat"):
        config_of(material, learning_rat=1e-3)
    with pytest.raises(ConfigError, match=r"'papr'.*paper"):
        train_restorer(config_of(material, mixture=[("papr", 1.0)]), tmp_path / "run")


def test_a_run_is_not_overwritten_nor_changed_on_the_way(material: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train_restorer(config_of(material, steps=2), run)
    with pytest.raises(OutputError, match="already holds a run"):
        train_restorer(config_of(material), run)
    with pytest.raises(ConfigError, match="another seed, batch"):
        train_restorer(config_of(material, seed=9, batch=4), run, resume=True)
    with pytest.raises(InputError, match="no run to resume"):
        train_restorer(config_of(material), tmp_path / "nowhere", resume=True)


def test_a_damaged_checkpoint_says_so(material: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train_restorer(config_of(material, steps=2), run)
    (run / "last.pt").write_bytes((run / "last.pt").read_bytes()[:1000])
    with pytest.raises(InputError, match=r"last\.pt is damaged"):
        train_restorer(config_of(material), run, resume=True)


def test_the_learning_rate_warms_up_and_ends_at_zero(material: Path) -> None:
    config = config_of(material, steps=100, warm_up_steps=10, learning_rate=1.0)
    rates = [config.rate_at(step) for step in range(100)]
    assert rates[:3] == [0.1, 0.2, pytest.approx(0.3)]
    assert max(rates) == rates[9] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert rates[99] < 1e-3


def test_validation_writes_measures_and_a_grid(material: Path, tmp_path: Path) -> None:
    (tmp_path / "faces").mkdir()
    for index in range(2):
        image = np.random.default_rng(index).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "faces" / f"{index}.png"), cv2.resize(image, (512, 512)))
    checks = {"validation": {"path": tmp_path / "faces"}, "validation_images": 2, "validate_every": 2}
    train_restorer(config_of(material, steps=2, **checks), tmp_path / "run")
    measures = log_of(tmp_path / "run")[-1]["validation"]
    assert set(measures) == {"medium", "paper", "clean"}
    assert measures["clean"]["psnr"] > 25
    grid = cv2.imread(str(tmp_path / "run" / "grids" / "0000002.png"))
    assert grid.shape == (6 * 64, 2 * 64, 3)


@pytest.fixture(scope="module")
def exported(material: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("export") / "run"
    train_restorer(config_of(material), run)
    return export_run(run, run / "small.safetensors")


def test_an_exported_net_is_rebuilt_from_its_file(exported: Path) -> None:
    record = models.metadata(exported)
    net = nets.build(record["arch"], record["config"])
    state = models.load_state(exported)
    assert {value.dtype for value in state.values()} == {torch.float16}
    net.load_state_dict(state)
    average = read_checkpoint(exported.parent)["average"]
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, average[name], rtol=1e-3, atol=1e-6)


def test_the_card_tells_data_and_recipe_but_no_path(exported: Path) -> None:
    card = exported.with_suffix(".md").read_text(encoding="utf-8")
    assert "8 aligned faces" in card
    assert "| not stated | 8 |" in card
    assert "4 steps, 8 images seen" in card
    assert str(exported.parent.parent) not in card
    assert "learning_rate: 0.002" in card


def test_export_needs_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no checkpoint"):
        export_run(tmp_path, tmp_path / "x.safetensors")
