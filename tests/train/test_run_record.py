"""What `train status` tells of a run, from its files alone, and the commands of the training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from runs import SMALL, SMALL_GFPGAN, config_of

from revisage.cli.app import run as main
from revisage.core.errors import InputError
from revisage.train.run_record import read_status


def write_run(folder: Path, lines: list[dict[str, Any]], **config: Any) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"steps": 100, **config}))
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 90, "pix')
    return folder


def look(step: int, seconds: float, **losses: float) -> dict[str, Any]:
    return {"step": step, "rate": 1e-3, **losses, "seconds": seconds, "images_per_second": 8.0}


def test_step_pace_losses_and_the_best_check(tmp_path: Path) -> None:
    lines = [
        {"event": "data", "images": 3},
        look(10, 20.0, pixel=0.5),
        {"step": 10, "validation": {"medium": {"psnr": 20.0, "vggd": 0.3}}, "best": 0.3},
        look(20, 40.0, pixel=0.4),
        {"step": 20, "validation": {"medium": {"psnr": 21.0, "vggd": 0.2}}, "best": 0.2},
        look(30, 60.0, pixel=0.3, pyramid=0.1),
        {"step": 30, "validation": {"medium": {"psnr": 22.0, "vggd": 0.25}}, "best": 0.2},
    ]
    run = write_run(tmp_path / "run", lines, best_by=["medium", "vggd"])
    (run / "best.pt").touch()
    (run / "data.json").write_text(json.dumps({"skipped": ["a.jpg is no image that can be decoded"]}))
    status = read_status(run)
    assert (status.step, status.steps, status.rate) == (30, 100, 8.0)
    assert status.seconds_left == pytest.approx(140)  # two seconds a step
    assert status.losses == {"pixel": 0.3, "pyramid": 0.1}
    assert status.measures["medium"]["psnr"] == 22.0
    assert (status.best, status.best_step) == (0.2, 20)
    text = "\n".join(status.lines())
    assert "step 30 of 100 (30.0 %), 8 images/s, 2:20 left" in text
    assert "best: medium vggd 0.2 at step 20" in text
    assert "checkpoints: best.pt" in text
    assert "1 training files could not be used" in text


def test_the_pace_is_that_since_the_last_start(tmp_path: Path) -> None:
    """A resumed run counts its seconds anew; a second look is needed before a pace is known."""
    resumed = [look(10, 500.0), look(20, 1000.0), look(30, 10.0)]
    assert read_status(write_run(tmp_path / "one", resumed)).seconds_left is None
    assert read_status(write_run(tmp_path / "two", [*resumed, look(40, 20.0)])).seconds_left == pytest.approx(60)
    assert read_status(write_run(tmp_path / "done", [look(50, 1.0), look(100, 2.0)])).seconds_left is None


def test_a_run_that_has_not_begun_and_none_at_all(tmp_path: Path) -> None:
    status = read_status(write_run(tmp_path / "run", []))
    assert (status.step, status.rate, status.checkpoints) == (0, None, ())
    with pytest.raises(InputError, match="no run in"):
        read_status(tmp_path)


def of_command(material: Path, steps: int, **changes: Any) -> list[str]:
    """The settings of a small run as words of the command line."""
    settings = json.loads(config_of(material, steps=steps, perceptual_weight=0, **changes).model_dump_json())
    del settings["data"], settings["mixture"]
    words = [f"--set=data={material / 'faces'}"]
    return [*words, *(f"--set={name}={json.dumps(value)}" for name, value in settings.items() if value is not None)]


def test_a_run_by_its_commands(material: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(tmp_path / "run")
    words = of_command(material, 2, net=SMALL_GFPGAN)
    assert main(["train", "restorer", run, *words, "--preset", "mild", "--set", "net.narrow=0.125"]) == 0
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    assert record["mixture"] == [["mild", 1.0]]
    assert record["net"] == {**record["net"], "architecture": "gfpgan-clean", "size": 64, "narrow": 0.125}
    # What the run was begun with need not be said again.
    assert main(["train", "restorer", run, "--resume", "--set", "steps=3"]) == 0
    capsys.readouterr()
    assert main(["train", "status", run, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["step"], told["steps"], told["checkpoints"]) == (3, 3, ["last.pt"])
    # The result is a start for others.
    assert main(["train", "restorer", str(tmp_path / "more"), "--from", run, *of_command(material, 1, net=SMALL)]) == 2
    assert "leave net out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "learning_rat=1"], "unknown setting learning_rat; did you mean 'learning_rate'?"),
        (["--set", "net=resnet"], "unknown architecture 'resnet'"),
        (["--set", "identity_weight=1"], "identity_weight needs the weights of a recogniser"),
        (["--set", "batch=0"], "setting batch: input should be greater than or equal to 1"),
        (["--preset", "wbcam"], "no degradation preset 'wbcam'"),
        (["--from", "nobody"], "nobody"),
        (["--set", "data=nowhere"], "no such folder or list of training images: nowhere"),
    ],
)
def test_mistakes_are_told_in_one_line(
    material: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["train", "restorer", str(tmp_path / "run"), *of_command(material, 1), *words]) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_not_there_or_damaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("restorer", "prior"):
        assert main(["train", command, str(tmp_path), "--resume"]) == 2
        assert f"no run to resume in {tmp_path}: config.json is not there" in capsys.readouterr().err
    assert main(["train", "status", str(tmp_path)]) == 2
    assert f"no run in {tmp_path}: config.json is not there" in capsys.readouterr().err
    (tmp_path / "config.json").write_text('{"steps": ')
    assert main(["train", "status", str(tmp_path)]) == 2
    assert "config.json is damaged" in capsys.readouterr().err


def test_corrupt_images_are_skipped_counted_and_named(
    material: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faces = tmp_path / "faces"
    faces.mkdir()
    for file in (material / "faces").iterdir():
        (faces / file.name).write_bytes(file.read_bytes())
    (faces / "3.png").write_bytes((faces / "3.png").read_bytes()[:40])
    words = [*of_command(material, 1), f"--set=data={faces}"]
    assert main(["train", "restorer", str(tmp_path / "run"), *words]) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert (first["images"], first["skipped"]) == (7, 1)
    assert "3.png is no image that can be decoded" in first["first_skipped"]
    assert main(["train", "status", str(tmp_path / "run")]) == 0
    assert "1 training files could not be used; data.json names them" in capsys.readouterr().out


def test_a_folder_without_images(material: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    words = [*of_command(material, 1), f"--set=data={tmp_path / 'empty'}"]
    assert main(["train", "restorer", str(tmp_path / "run"), *words]) == 2
    assert "no training image of 64 px or more in" in capsys.readouterr().err
