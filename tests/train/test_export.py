"""Export: a run becomes a file that restores, agrees with what was trained, and tells where it comes from."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from runs import SMALL_GFPGAN, config_of
from safetensors.torch import load_file
from torch import nn

from revisage import models
from revisage.core.errors import ConfigError, InputError, ModelError, OutputError, ProcessingError
from revisage.models.differences import put_together
from revisage.nets import CompactConfig, CompactGFPGAN
from revisage.restorers import load_restorer
from revisage.train import export
from revisage.train.export import card_path, export_run
from revisage.train.networks import build_restorer
from revisage.train.run_record import read_run

NET = CompactConfig(size=64, channels=(8, 8), style_features=8, bottleneck_channels=4)


def write_run(
    folder: Path, faces: Path, trained: nn.Module | None = None, *, seed: int = 3, stage: str = "restorer", **net: Any
) -> Path:
    """A run folder with a last checkpoint, as training leaves it."""
    torch.manual_seed(seed)
    trained = trained or CompactGFPGAN(NET)
    with torch.no_grad():
        for parameter in trained.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.05)
    config = {
        "data": [{"path": str(faces), "weights": {"ffhq*": 4.0}}],
        "vgg": "/home/someone/vgg.safetensors",
        "net": net or NET.model_dump(mode="json"),
        "seed": 7,
        "batch": 2,
        "accumulate": 3,
        "mixture": [["paper", 1.0]],
    }
    (folder / "grids").mkdir(parents=True)
    Image.new("RGB", (8, 8), (1, 2, 3)).save(folder / "grids" / "0000010.png")
    Image.new("RGB", (8, 8), (9, 9, 9)).save(folder / "grids" / "0000020.png")
    content = {"stage": stage, "config": json.dumps(config), "average": trained.state_dict()}
    torch.save({"step": 20, **content}, folder / "last.pt")
    data = {"images": 8, "sha256": "ab" * 32, "licences": {"CC0 1.0": 6, "mine | all": 2}, "skipped": ["/x/y.png bad"]}
    (folder / "data.json").write_text(json.dumps(data))
    lines = [
        {"event": "start", "revision": "0123abc"},
        *({"step": n, "validation": {"medium": {"psnr": n}}} for n in (10, 20)),
    ]
    (folder / "log.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"step": 2')
    return folder


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve smooth pictures of 64 px."""
    folder = tmp_path_factory.mktemp("faces")
    for number in range(12):
        small = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(small).resize((64, 64), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def run(tmp_path: Path, faces: Path) -> Path:
    return write_run(tmp_path / "run", faces)


def crops(faces: Path) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path)) for path in sorted(faces.iterdir())[:3]])


def test_the_card_tells_all_that_the_run_wrote_down_and_no_path(run: Path, tmp_path: Path, faces: Path) -> None:
    output = export_run(run, tmp_path / "mine.safetensors")
    card = card_path(output).read_text(encoding="utf-8")
    for words in (
        *("8 aligned faces", "1 files left out", "| CC0 1.0 | 6 |", "mine \\| all", "20 steps, 120 images seen"),
        *("seed: 7", 'code: "0123abc"', '{"psnr": 20}', "![samples](mine.png)", "float16"),
    ):
        assert words in card
    assert str(faces) not in card
    assert "someone" not in card
    assert (tmp_path / "mine.png").read_bytes() == (run / "grids" / "0000020.png").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"run", "mine.safetensors", "mine.md", "mine.png"}
    record = models.metadata(output)
    assert record["training"]["revision"] == "0123abc"
    assert str(faces) not in json.dumps(record)


def test_a_run_that_wrote_down_little_is_exported_too(run: Path, tmp_path: Path) -> None:
    for name in ("data.json", "log.jsonl"):
        (run / name).unlink()
    card = card_path(export_run(run, tmp_path / "m.safetensors")).read_text(encoding="utf-8")
    assert "did not write down its data" in card
    assert "git revision not recorded" in card


def test_the_best_checkpoint_is_taken_where_there_is_one(run: Path, tmp_path: Path, faces: Path) -> None:
    other = write_run(tmp_path / "other", faces, seed=4)
    content = torch.load(other / "last.pt", weights_only=True)
    torch.save({**content, "step": 10}, run / "best.pt")
    best, last = read_run(run), read_run(run, "last")
    assert (best.checkpoint, best.step, best.measures, best.grid) == (
        "best.pt",
        10,
        {"medium": {"psnr": 10}},
        run / "grids" / "0000010.png",
    )
    assert (last.checkpoint, last.step) == ("last.pt", 20)
    with pytest.raises(InputError, match=r"no checkpoint best\.pt"):
        read_run(other, "best")


@pytest.mark.parametrize("name", ["m.onnx", "m.xml"])
def test_onnx_and_openvino_restore_as_the_weights_do(run: Path, tmp_path: Path, faces: Path, name: str) -> None:
    said: list[str] = []
    output = export_run(run, tmp_path / name, say=said.append)
    (line,) = said
    assert "largest difference" in line
    assert line in card_path(output).read_text(encoding="utf-8")
    weights = load_restorer(export_run(run, tmp_path / "m.safetensors"), engine="torch", precision="fp32")
    restorer = load_restorer(output, precision="fp32")
    assert (restorer.size, restorer.info.architecture, restorer.info.engine) == (64, "compact", "openvino")
    found, wanted = (each(crops(faces)).astype(int) for each in (restorer, weights))
    assert abs(found - wanted).max() <= 1
    assert abs(wanted - crops(faces)).max() > 3
    with pytest.raises(ConfigError, match="by OpenVINO"):
        load_restorer(output, engine="torch")


@pytest.mark.parametrize("name", ["g.onnx", "g.xml"])
def test_a_gfpgan_is_exported_too(tmp_path: Path, faces: Path, name: str) -> None:
    """Its options for training (noise, the pyramid) must not become inputs of the file."""
    net = config_of(tmp_path, net=SMALL_GFPGAN).net
    run = write_run(tmp_path / "run", faces, build_restorer(net), **net.model_dump(mode="json"))
    output = export_run(run, tmp_path / name)
    restored = load_restorer(output, precision="fp32")(crops(faces))
    wanted = load_restorer(export_run(run, tmp_path / "w.safetensors"), engine="torch", precision="fp32")(crops(faces))
    assert abs(restored.astype(int) - wanted).max() <= 1
    assert np.ptp(restored) > 20


def test_a_file_that_disagrees_is_not_left(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = export.convert

    def wrong(net: Any, size_hw: Any) -> Any:
        other = copy.deepcopy(net)
        with torch.no_grad():
            other.head.bias.add_(0.05)
        return real(other, size_hw)

    monkeypatch.setattr(export, "convert", wrong)
    with pytest.raises(ProcessingError, match=r"m\.xml was not written: .*largest difference"):
        export_run(run, tmp_path / "m.xml")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_int8_agrees_or_is_refused(run: Path, tmp_path: Path, faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "WANTED_DB", 30.0)  # an untrained net is rougher than a trained one
    said: list[str] = []
    output = export_run(run, tmp_path / "small.xml", int8=True, faces=faces, say=said.append)
    assert said[0].startswith("int8 calibrated on 9 faces")
    assert float(said[1].split(": ")[1].split(" dB")[0]) >= 30
    assert load_restorer(output).info.precision == "int8"
    with pytest.raises(ConfigError, match="export it with --int8"):
        load_restorer(export_run(run, tmp_path / "m.xml"), precision="int8")
    monkeypatch.setattr(export, "WANTED_DB", 200.0)
    with pytest.raises(ProcessingError, match="200 wanted"):
        export_run(run, tmp_path / "other.xml", int8=True, faces=faces)
    assert not (tmp_path / "other.xml").exists()


def test_a_second_look_is_exported_as_its_difference_from_the_first(tmp_path: Path, faces: Path) -> None:
    base = models.local_path("compact")
    net = CompactGFPGAN(CompactConfig(**models.metadata(base)["config"]))
    net.load_state_dict({name: value + 0.01 * value.abs().mean() for name, value in load_file(base).items()})
    run = write_run(tmp_path / "run", faces, net, **net.config.model_dump(mode="json"))
    said: list[str] = []
    difference = export_run(run, tmp_path / "second.npz", base="compact", say=said.append)
    whole = export_run(run, tmp_path / "whole.safetensors")
    assert difference.stat().st_size < whole.stat().st_size / 2
    assert card_path(difference).name == "second.md"
    assert sorted(file.name for file in tmp_path.glob("second*")) == ["second.md", "second.npz", "second.png"]
    together = load_file(put_together(difference, base, said[-1].rpartition(" ")[2], tmp_path))
    for name, value in load_file(whole).items():
        step = (value.float() - load_file(base)[name].float()).abs().max() / 63
        assert (together[name].float() - value.float()).abs().max() <= step + 1e-3 * value.float().abs().max(), name
    with pytest.raises(ModelError, match="not of one network"):
        export_run(write_run(tmp_path / "other", faces), tmp_path / "other.npz", base="compact")


def test_requests_that_cannot_be_met_are_refused(run: Path, tmp_path: Path, faces: Path) -> None:
    with pytest.raises(ConfigError, match="suffix tells the format"):
        export_run(run, tmp_path / "m.pth")
    with pytest.raises(ConfigError, match="do not go together"):
        export_run(run, tmp_path / "m.onnx", format="openvino")
    with pytest.raises(ConfigError, match=r"name the output \.xml"):
        export_run(run, tmp_path / "m.onnx", int8=True)
    with pytest.raises(ConfigError, match="a difference goes with its base"):
        export_run(run, tmp_path / "m.npz")
    with pytest.raises(ConfigError, match="a difference goes with its base"):
        export_run(run, tmp_path / "m.safetensors", base="compact")
    with pytest.raises(OutputError, match="there is no folder"):
        export_run(run, tmp_path / "no" / "m.onnx")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="with --faces"):
        export_run(run, tmp_path / "m.onnx", faces=tmp_path / "empty")
    (tmp_path / "m.md").write_text("mine")
    with pytest.raises(OutputError, match=r"m\.md exists"):
        export_run(run, tmp_path / "m.safetensors", overwrite=False)
    assert (tmp_path / "m.md").read_text() == "mine"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="whoever may write anywhere is not refused")
def test_a_read_only_folder_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(OutputError, match="read-only"):
        export_run(run, tmp_path / "locked" / "m.safetensors")


def test_what_is_no_run_of_a_restorer_is_refused(tmp_path: Path, faces: Path) -> None:
    with pytest.raises(InputError, match="is not there"):
        read_run(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no checkpoint last\.pt"):
        read_run(tmp_path)
    with pytest.raises(InputError, match="is of a prior"):
        read_run(write_run(tmp_path / "prior", faces, stage="prior"))
    other = {**NET.model_dump(mode="json"), "channels": [8, 16]}
    with pytest.raises(InputError, match="another kind or version"):
        read_run(write_run(tmp_path / "wider", faces, **other))


def test_a_damaged_onnx_file_says_so(tmp_path: Path) -> None:
    from revisage.core.errors import ModelError

    (tmp_path / "m.onnx").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="damaged"):
        load_restorer(tmp_path / "m.onnx")
    (tmp_path / "m.xml").write_bytes(b"<net/>")
    with pytest.raises(ModelError, match=r"m\.bin must lie beside"):
        load_restorer(tmp_path / "m.xml")
    with pytest.raises(ModelError, match="no such model file"):
        load_restorer(tmp_path / "gone.onnx")
