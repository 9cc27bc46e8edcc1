"""The embedded models restore, scan and detect where torch is not installed; what needs it says so in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from revisage import engines, models

PHOTO = Path(models.__file__).parents[1] / "demo_data" / "astronaut.webp"
# What `import torch` and `find_spec` give where it is not installed.
WITHOUT = "import sys; sys.modules['torch'] = None; sys.modules['torchvision'] = None\n"


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", WITHOUT + code], capture_output=True, text=True, check=False)


def test_a_photo_is_restored_scanned_and_searched(tmp_path: Path) -> None:
    code = f"""
import json, numpy as np, revisage
from PIL import Image
from pathlib import Path
photo, out = Path({str(PHOTO)!r}), Path({str(tmp_path)!r})
# The photo is clean: by default its face is left.
revisage.restore(photo, out / "restored.png", report=out / "report.json", fine="keep")
image = np.asarray(Image.open(photo).convert("RGB"))
faces = revisage.detect_faces(image)
restored = revisage.restore_image(image, fine="keep")
assert len(faces) == 1 and (restored != image).any()
assert np.array_equal(np.asarray(Image.open(out / "restored.png").convert("RGB")), restored)
assert len(revisage.scan(photo).shots) == 1
frames = [Image.fromarray(np.roll(image, shift, 1)) for shift in (0, 2)]
frames[0].save(out / "moving.gif", save_all=True, append_images=frames[1:], duration=80)
assert revisage.restore(out / "moving.gif", out / "restored.gif").to_json()
assert revisage.load_restorer().info.sha256 == {models.verify("compact").sha256!r}
assert revisage.load_detector()(image)[0].box == faces[0].box
assert sys.modules["torch"] is None
"""
    result = run(code)
    assert result.returncode == 0, result.stderr


def test_what_needs_torch_names_the_extra() -> None:
    calls = [
        "revisage.load_restorer('restoreformer')",
        "revisage.load_restorer(engine='torch')",
        "revisage.load_detector('retinaface-r50')",
        f"revisage.load_restorer({str(models.local_path('compact'))!r})",
    ]
    code = f"""
import revisage
for call in {calls!r}:
    try:
        eval(call)
    except revisage.RevisageError as error:
        print(error)
"""
    result = run(code)
    lines = result.stdout.splitlines()
    assert len(lines) == len(calls), result.stderr
    assert all("pip install 'revisage[torch]'" in line for line in lines), lines


@pytest.mark.parametrize("name", ["compact", "compact-natural", "compact-detector", "compact-fine", "compact-reader"])
def test_embedded_files_are_what_the_export_makes_of_the_weights(name: str, tmp_path: Path) -> None:
    from revisage.train import export_model

    written = export_model(name, tmp_path / f"{name}.xml", shared=True)
    weights = models.verify(name)
    shipped = [models.local_path(name).with_name(path.name) for path in written]
    expected, told = shipped, f"run  revisage export {name} --shared -o {shipped[0]}"
    if _made_by(shipped[0], weights.path) != _made_by(written[0], weights.path):
        # Another OpenVINO writes other files than those that were shipped, but the same ones twice.
        expected = export_model(name, tmp_path / "again.xml", shared=True)
        told = "the same weights gave other bytes"
    for path, same in zip(written, expected, strict=True):
        for ours, theirs in zip(both(path), both(same), strict=True):
            assert ours.read_bytes() == theirs.read_bytes(), told
    for path in shipped:
        notes = engines.model_notes(engines.read_model(path, weights.path))
        assert notes["weights_sha256"] == weights.sha256


@pytest.mark.parametrize("name", ["compact", "compact-natural"])
def test_the_embedded_int8_form_is_of_the_weights(name: str) -> None:
    weights = models.verify(name)
    file = models.compiled_path(name, weights.sha256, "int8")
    assert file is not None
    model = engines.read_model(file, weights.path)
    assert engines.model_notes(model)["weights_sha256"] == weights.sha256
    assert engines.is_quantised(model)
    assert file.with_suffix(".constants").stat().st_size < 0.1 * weights.path.stat().st_size


@pytest.mark.slow
def test_the_embedded_int8_form_is_what_the_export_makes(shared: Path, tmp_path: Path) -> None:
    from revisage.train import export_model

    faces = shared / "faces" / "train256"
    [ours] = export_model("compact", tmp_path / "compact.int8.xml", shared=True, int8=True, faces=faces)
    theirs = models.local_path("compact").with_name(ours.name)
    # NNCF's statistics are sums in floating point, which another machine may round otherwise.
    assert abs(ours.stat().st_size - theirs.stat().st_size) < 1000


def test_a_network_that_shares_its_weights_computes_the_same(tmp_path: Path) -> None:
    from revisage.train import export_model

    [alone] = export_model("compact-fine", tmp_path / "alone.xml")
    [shared] = export_model("compact-fine", tmp_path / "shared.xml", shared=True)
    weights = models.local_path("compact-fine")
    assert shared.with_suffix(".constants").stat().st_size < 0.2 * alone.with_suffix(".bin").stat().st_size
    pixels = np.random.default_rng(0).random((1, 3, 64, 96), np.float32)
    first, second = (
        engines.make_engine(model, engine="openvino")(pixels)[0]
        for model in (engines.read_model(alone), engines.read_model(shared, weights))
    )
    assert np.array_equal(first, second)


def test_a_file_of_other_weights_is_not_taken() -> None:
    assert models.compiled_path("compact", models.verify("compact").sha256) is not None
    assert models.compiled_path("compact", "0" * 64) is None


def test_what_is_embedded_takes_at_most_30_mb() -> None:
    files = [file for file in models.local_path("compact").parent.iterdir() if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= 30_000_000


def both(file: Path) -> tuple[Path, Path]:
    return file, file.with_suffix(".constants")


def _made_by(file: Path, weights: Path) -> str:
    return str(engines.read_model(file, weights).get_rt_info(["Runtime_version"]).value)
