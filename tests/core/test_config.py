"""RestoreConfig: ranges, near matches, and that a saved one can be fed back."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest

from revisage.core.config import RestoreConfig, fields_about, make_config, option_of, served_fields
from revisage.core.errors import ConfigError


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"stregth": 1}, ["unknown option 'stregth'", "did you mean 'strength'"]),
        ({"strength": 1.5}, ["strength cannot be 1.5", "less than or equal to 1"]),
        ({"strength": float("nan")}, ["strength cannot be nan"]),
        ({"engine": "tork"}, ["engine cannot be 'tork'", "did you mean 'torch'", "openvino"]),
        ({"background": "realesrgan"}, ["background cannot be", "did you mean 'realesrgan-x4'"]),
        ({"upscale": 0}, ["upscale cannot be 0"]),
        ({"upscale": "1/0"}, ["upscale cannot be '1/0'"]),
        ({"batch": -1}, ["batch cannot be -1"]),
        ({"min_face": 0}, ["min_face cannot be 0"]),
        ({"start": "noon"}, ["not a time: 'noon'"]),
        ({"start": "10", "end": "5"}, ["end (5 s) must lie after start (10 s)"]),
        ({"min_face": 50, "max_face": 20}, ["max_face (20) must not be below min_face (50)"]),
    ],
)
def test_a_wrong_option_is_named_in_one_line(options: dict, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        make_config(**options)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_settings_can_be_fed_back() -> None:
    config = make_config(upscale="3/2", start="1:02.5", strength=0.5, overwrite=True)
    saved = json.loads(json.dumps(config.settings()))
    assert "overwrite" not in saved
    again = make_config(saved)
    assert again.start == Fraction(125, 2)
    assert again.settings() == config.settings()


def test_every_field_says_what_it_is_about() -> None:
    for name in RestoreConfig.model_fields:
        option = option_of(name)
        assert option.panel
        assert option.scopes
        decides = {"networks", "scan", "result"} & set(option.scopes)
        assert decides or not option.served, f"{name} is about this machine's files or processes"
    assert set(fields_about("networks")) >= {"model", "detector", "temporal", "precision"}
    assert "temporal" in served_fields()
    assert {"collect", "consent", "overwrite", "dry_run", "workers", "report"}.isdisjoint(served_fields())


def test_how_many_workers_ran_decides_about_nothing() -> None:
    assert make_config(workers=4).settings() == make_config().settings()


def test_options_override_the_base_and_none_means_not_given() -> None:
    base = RestoreConfig(strength=0.3, batch=2)
    config = make_config(base, strength=0.7, batch=None)
    assert (config.strength, config.batch) == (0.7, 2)


def test_config_is_frozen() -> None:
    config = RestoreConfig()
    with pytest.raises(ValueError, match="frozen"):
        config.strength = 0.5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("options", "copies"),
    [
        ({}, True),
        ({"crf": 0}, False),
        ({"encoder_preset": "veryfast"}, False),
        ({"codec": "libx264"}, False),
        ({"pixel_format": "yuv420p"}, False),
        ({"copy_untouched": "always", "crf": 20}, True),
        ({"copy_untouched": "never"}, False),
        ({"copy_untouched": "always", "deinterlace": True}, False),
        ({"copy_untouched": "always", "compare": "a.mp4"}, False),
        ({"copy_untouched": "always", "save_frames": "frames"}, False),
        ({"save_faces": "faces"}, True),
    ],
)
def test_packets_are_copied_unless_something_else_is_asked_for(options: dict[str, object], copies: bool) -> None:
    assert make_config(options).copies == copies


@pytest.mark.parametrize("device", ["auto", "cuda", "cuda:0", "cuda:0,1"])
def test_gpus_are_named_by_number(device: str) -> None:
    assert make_config(device=device).device == device


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"device": "cdua"}, r"device cannot be 'cdua': choose one of auto, .*; did you mean 'cuda'\?"),
        ({"device": "cuda:x"}, "GPUs by number as in cuda:0,1"),
        ({"workers": "0"}, "workers cannot be '0': input should be greater than or equal to 1"),
        ({"workers": "many"}, "workers cannot be 'many'"),
    ],
)
def test_wrong_places_to_work_are_refused(options: dict, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        make_config(**options)
