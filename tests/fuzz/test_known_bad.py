"""The classes of bad input that are known: media, JSON, models, names."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from children import VERBS, Child
from known_bad import KNOWN_BAD, Maker, webp_large

from revisage.cli.app import run
from sample_media import face_frames, plain_frames, write_video

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="limits of processes are POSIX"),
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module")
def child(compiled_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    made = Child(tmp_path_factory.mktemp("child"), compiled_model)
    yield made
    made.stop()


@pytest.mark.parametrize("maker", KNOWN_BAD, ids=lambda maker: maker.__name__)
def test_bad_media_are_restored_or_refused(child: Child, tmp_path: Path, maker: Maker) -> None:
    path = maker(tmp_path)
    found = {verb: child.ask(verb, path) for verb in VERBS}
    assert {verb: said["told"] for verb, said in found.items() if said["state"] == "wrong"} == {}


Refused = Callable[..., str]


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Runs a command that must be refused: its one line is returned."""

    def check(*words: object) -> str:
        assert run([str(word) for word in words]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert len(err.splitlines()) == 1, err
        assert err.startswith("revisage: error: ")
        return err

    return check


HOSTILE_JSON = {
    "deep": "[" * 100_000,
    "deep object": '{"a":' * 100_000,
    "a number without end": '{"version": 1, "tracks": ' + "9" * 100_000 + "}",
    "beyond floating point": '{"version": 1, "tracks": [], "pts": [1e999]}',
    "a list": "[1, 2]",
    "null": "null",
    "not UTF-8": b"\xff\xfe{}",
    "a key twice and NaN": '{"version": 1, "version": NaN, "tracks": NaN}',
}


def test_a_picture_that_its_decoder_holds_twice_is_refused(tmp_path: Path, refused: Refused) -> None:
    assert "16320 x 16383 px, more than the limit" in refused("restore", webp_large(tmp_path), tmp_path / "out.webp")


@pytest.mark.parametrize("text", HOSTILE_JSON.values(), ids=HOSTILE_JSON)
def test_hostile_json_is_refused(tmp_path: Path, refused: Refused, text: str | bytes) -> None:
    clip = write_video(tmp_path / "a.mkv", plain_frames(2))
    file = tmp_path / "hostile.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert "hostile.json" in refused("restore", clip, "--scan", file)
    refused("restore", clip, "--config", file)


@pytest.mark.parametrize("text", HOSTILE_JSON.values(), ids=HOSTILE_JSON)
def test_a_hostile_manifest_is_worth_nothing(tmp_path: Path, text: str | bytes) -> None:
    from revisage.pipeline.work_folder import WorkFolder

    folder = WorkFolder(tmp_path / "out.mkv")
    data = text if isinstance(text, bytes) else text.encode()
    for manifest in (data, b'{"key": "key"}\n' + data + b'\n{"publishing": 1, "report": {}}\n'):
        folder.path.mkdir(exist_ok=True)
        (folder.path / "manifest.jsonl").write_bytes(manifest)
        assert not folder.was_publishing(tmp_path / "out.mkv") or not (tmp_path / "out.mkv").exists()
        folder.open("key")
        assert folder.segments == 0
    folder.remove_all()


def test_weights_of_wrong_shapes_are_refused(tmp_path: Path, tiny_model: Path, refused: Refused) -> None:
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    with safe_open(tiny_model, framework="np") as stream:
        notes = stream.metadata()
    weights = {
        name: value[..., :1].copy() if value.ndim > 1 else value for name, value in load_file(tiny_model).items()
    }
    save_file(weights, tmp_path / "odd.safetensors", notes)
    clip = write_video(tmp_path / "a.mkv", plain_frames(2))
    assert "odd.safetensors" in refused("restore", clip, "--model", tmp_path / "odd.safetensors")


def test_a_header_that_promises_more_than_there_is_is_refused(tmp_path: Path, refused: Refused) -> None:
    header = b'{"a": {"dtype": "F32", "shape": [1000000, 1000000], "data_offsets": [0, 4000000000000]}}'
    (tmp_path / "promise.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    (tmp_path / "header.safetensors").write_bytes((2**60).to_bytes(8, "little") + b"{}")
    clip = write_video(tmp_path / "a.mkv", plain_frames(2))
    for name in ("promise.safetensors", "header.safetensors"):
        assert name in refused("restore", clip, "--model", tmp_path / name)


@pytest.mark.parametrize("place", ["../secret.bin", "/etc/passwd", "gone.bin"])
def test_a_network_whose_weights_lie_elsewhere_is_refused(tmp_path: Path, refused: Refused, place: str) -> None:
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    (tmp_path / "secret.bin").write_bytes(b"secret" * 100)
    (tmp_path / "models").mkdir()
    weights = helper.make_tensor("w", TensorProto.FLOAT, [3, 3, 1, 1], bytes(36), raw=True)
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    for key, value in (("location", place), ("offset", "0"), ("length", "36")):
        entry = weights.external_data.add()
        entry.key, entry.value = key, value
    sides = ["n", 3, 64, 64]
    images = [helper.make_tensor_value_info(name, TensorProto.FLOAT, sides) for name in ("x", "y")]
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "g", images[:1], images[1:], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "models" / "far.onnx").write_bytes(model.SerializeToString())
    assert onnx is not None
    clip = write_video(tmp_path / "a.mkv", plain_frames(2))
    assert "far.onnx" in refused("restore", clip, "--model", tmp_path / "models" / "far.onnx")


@pytest.mark.parametrize(
    "name", ["-x.mkv", "--help.mkv", "two\nlines.mkv", "Gesicht Größe 顔.mkv", "a b;$(id)`id`.mkv"]
)
def test_odd_names_are_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tiny_model: Path, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_video(Path("plain.mkv"), face_frames(2)).rename(name)
    assert run(["restore", "--model", str(tiny_model), "-q", "--", name, f"out{name}"]) == 0
    assert sorted(os.listdir()) == sorted([name, f"out{name}"])  # noqa: PTH208 - names as the system has them
    assert run(["restore", "--", name, f"out{name}"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_links_that_lead_nowhere_or_round_are_refused(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "round.mkv").symlink_to(tmp_path / "round.mkv")
    (tmp_path / "nowhere.mkv").symlink_to(tmp_path / "none.mkv")
    for name in ("round.mkv", "nowhere.mkv"):
        assert name in refused("restore", tmp_path / name)
        assert name in refused("probe", tmp_path / name)
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "up").symlink_to(tmp_path)
    write_video(tmp_path / "a.mkv", plain_frames(2))
    assert run(["batch", str(tmp_path / "dir"), "-r", "-o", str(tmp_path / "out"), "--dry-run", "-q"]) in (0, 2)


def test_an_output_through_dots_is_where_they_lead(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "in").mkdir()
    clip = write_video(tmp_path / "in" / "a.mkv", plain_frames(2))
    output = tmp_path / "in" / ".." / "in" / "a.mkv"
    assert run(["restore", str(clip), str(output), "--overwrite", "-q"]) == 2, "it is the input"
    assert run(["restore", str(clip), str(tmp_path / "in" / ".." / "b.mkv"), "-q", "--model", str(tiny_model)]) == 0
    assert (tmp_path / "b.mkv").is_file()


def test_a_report_is_not_trusted_as_a_config(tmp_path: Path, refused: Refused) -> None:
    clip = write_video(tmp_path / "a.mkv", plain_frames(2))
    hostile = {"config": {"model": "compact", "__class__": "os.system", "save_faces": "/"}}
    (tmp_path / "report.json").write_text(json.dumps(hostile))
    assert "unknown option '__class__'" in refused("restore", clip, "--config", tmp_path / "report.json")
