"""C2PA manifests: signed with a chain made here, read and validated by the reference library."""

from __future__ import annotations

import json
from pathlib import Path

import c2pa
import numpy as np
import pytest
from certificates import Chain, pem_of, write_chain
from cryptography.hazmat.primitives.asymmetric import ec
from PIL import Image

import revisage
from revisage.core import ConfigError, MissingExtraError
from revisage.provenance import Statement, label_output, read_manifest
from sample_media import face_frames, write_video

SAID = Statement(software="revisage 9.9", model="compact", sha256="ab" * 32, strength=0.75, frames=3, faces=7)
KIND = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
PICTURES = [".jpg", ".png", ".webp", ".gif", ".tif", ".avif", ".heic"]
VIDEOS = [".mp4", ".mov", ".avi"]


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    return write_chain(tmp_path_factory.mktemp("chain"))


def config_of(chain: Chain) -> revisage.RestoreConfig:
    return revisage.RestoreConfig(c2pa_key=chain.key, c2pa_cert=chain.certificate)


def media_file(path: Path) -> Path:
    if path.suffix in VIDEOS or path.suffix == ".mkv":
        return write_video(path, face_frames(2))
    pixels = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    if path.suffix == ".heic":
        from pillow_heif import register_heif_opener

        register_heif_opener()
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize("suffix", [*PICTURES, *VIDEOS])
def test_what_was_done_is_signed_and_found_valid(suffix: str, chain: Chain, tmp_path: Path) -> None:
    source, output = media_file(tmp_path / f"tape{suffix}"), media_file(tmp_path / f"out{suffix}")
    label_output(output, SAID, source, config_of(chain))
    found = read_manifest(output)
    assert found is not None
    assert found.problems == ()
    assert (found.state, found.signer, found.generator.split(",")[0]) == ("Valid", "Attic Films, Test", "revisage 9.9")
    assert found.actions[-1] == "c2pa.edited"
    assert found.source_types == (KIND,)
    assert found.ingredients == (source.name,)
    assert found.statements == (SAID,)
    trusted = read_manifest(output, chain.root)
    assert trusted is not None
    assert trusted.state == "Trusted"
    with c2pa.Reader(output) as reader:  # as anybody reads it
        assert reader.get_validation_state() == "Valid"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([source.name, output.name])


def test_a_source_that_holds_no_manifest_is_named(chain: Chain, tmp_path: Path) -> None:
    source, output = media_file(tmp_path / "tape.mkv"), media_file(tmp_path / "out.mp4")
    label_output(output, SAID, source, config_of(chain))
    found = read_manifest(output)
    assert found is not None
    assert (found.state, found.ingredients, found.problems) == ("Valid", ("tape.mkv",), ())


@pytest.mark.parametrize("suffix", [".jpg", ".mp4"])
def test_a_change_afterwards_is_told(suffix: str, chain: Chain, tmp_path: Path) -> None:
    output = media_file(tmp_path / f"out{suffix}")
    label_output(output, SAID, output, config_of(chain))
    data = bytearray(output.read_bytes())
    data[-100 if suffix == ".jpg" else data.index(b"mdat") + 200] ^= 0xFF
    output.write_bytes(data)
    found = read_manifest(output)
    assert found is not None
    assert found.state == "Invalid"
    assert any("hash" in problem.lower() for problem in found.problems)
    assert not revisage.verify(output).sound


@pytest.mark.parametrize("name", ["still.jpg", "still.png", "still.webp", "still.tif", "moving.png", "moving.gif"])
def test_the_sources_manifest_is_kept_within_the_new_one_and_never_stale(
    name: str, chain: Chain, tmp_path: Path, tiny_model: Path
) -> None:
    source, suffix = tmp_path / name, Path(name).suffix
    more = [Image.fromarray(np.roll(face_frames(1)[0], 2, axis=1))] if name.startswith("moving") else []
    Image.fromarray(face_frames(1)[0]).save(source, **({"save_all": True, "append_images": more} if more else {}))
    label_output(source, SAID, source, config_of(chain))
    keys = {"c2pa_key": chain.key, "c2pa_cert": chain.certificate}
    revisage.restore(source, tmp_path / f"plain{suffix}", model=str(tiny_model))
    assert read_manifest(tmp_path / f"plain{suffix}") is None
    revisage.restore(source, tmp_path / f"signed{suffix}", model=str(tiny_model), **keys)
    found = revisage.verify(tmp_path / f"signed{suffix}")
    assert found.sound
    assert found.manifest is not None
    assert found.manifest.state == "Valid"
    assert found.manifest.statements[0] == found.statements[-1]
    with c2pa.Reader(tmp_path / f"signed{suffix}") as reader:
        assert len(json.loads(reader.json())["manifests"]) == 2


@pytest.mark.parametrize("suffix", [".tif", ".gif"])
def test_a_copy_to_the_byte_keeps_its_manifest(suffix: str, chain: Chain, tmp_path: Path, tiny_model: Path) -> None:
    source, output = media_file(tmp_path / f"noise{suffix}"), tmp_path / f"out{suffix}"
    label_output(source, SAID, source, config_of(chain))
    revisage.restore(source, output, model=str(tiny_model))
    assert output.read_bytes() == source.read_bytes()
    found = read_manifest(output)
    assert found is not None
    assert found.state == "Valid"


def test_a_restored_video_is_signed_and_the_command_tells(
    chain: Chain, tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from revisage.cli.app import run

    source, output = write_video(tmp_path / "talk.mp4", face_frames(3), audio=True), tmp_path / "out.mp4"
    signing = ["--c2pa-key", str(chain.key), "--c2pa-cert", str(chain.certificate)]
    report = tmp_path / "report.json"
    assert (
        run(["restore", str(source), str(output), "--model", str(tiny_model), "--report", str(report), *signing]) == 0
    )
    assert "c2pa" not in report.read_text()
    capsys.readouterr()
    assert run(["verify", str(output), "--trust-anchors", str(chain.root)]) == 0
    told = capsys.readouterr().out
    assert "C2PA manifest of Attic Films, Test: whole, and its signer is known" in told
    assert "signed: 3 faces were restored" in told
    assert run(["verify", str(output), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[str(output)]["manifest"]["state"] == "Valid"


def test_what_cannot_sign_is_one_line_before_the_work(chain: Chain, tmp_path: Path, tiny_model: Path) -> None:
    source = media_file(tmp_path / "talk.png")
    other, hidden, junk = (tmp_path / name for name in ("other.pem", "hidden.pem", "junk.pem"))
    other.write_bytes(pem_of(ec.generate_private_key(ec.SECP256R1())))
    hidden.write_bytes(pem_of(ec.generate_private_key(ec.SECP256R1()), b"secret"))
    junk.write_bytes(b"no PEM")
    ended = write_chain(tmp_path, days=-1)
    bad = [
        (other, chain.certificate, "is not the key of the first certificate"),
        (hidden, chain.certificate, "has a passphrase"),
        (junk, chain.certificate, "holds no private key"),
        (tmp_path / "none.pem", chain.certificate, "cannot be read"),
        (chain.key, junk, "holds no certificate"),
        (chain.key, tmp_path / "none.pem", "cannot be read"),
        (ended.key, ended.certificate, "cannot sign C2PA manifests"),
    ]
    for key, certificate, message in bad:
        with pytest.raises(ConfigError, match=message) as caught:
            revisage.restore(source, tmp_path / "out.png", model=str(tiny_model), c2pa_key=key, c2pa_cert=certificate)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out.png").exists()
    with pytest.raises(ConfigError, match=r"\.mkv holds no C2PA manifest; these do: .*\.mp4"):
        revisage.restore(
            write_video(tmp_path / "a.mkv", face_frames(2)),
            tmp_path / "out.mkv",
            model=str(tiny_model),
            c2pa_key=chain.key,
            c2pa_cert=chain.certificate,
        )


@pytest.mark.parametrize("options", [{"c2pa_key": "k"}, {"c2pa_cert": "c"}, {"c2pa_key": "k", "c2pa_cert": "c"}])
def test_options_that_do_not_go_together_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="c2pa_key"):
        revisage.RestoreConfig(provenance=False, **options)  # type: ignore[arg-type]


def test_without_the_library_labels_are_read_and_signing_is_refused(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = media_file(tmp_path / "out.png")
    label_output(output, SAID, output, revisage.RestoreConfig())
    monkeypatch.setitem(__import__("sys").modules, "c2pa", None)
    found = revisage.verify(output)
    assert found.statements == (SAID,)
    assert "revisage[c2pa]" in found.notes[0]
    with pytest.raises(MissingExtraError, match=r"revisage\[c2pa\]"):
        label_output(output, SAID, output, config_of(chain))
