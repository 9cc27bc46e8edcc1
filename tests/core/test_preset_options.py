"""Presets: what they set, and who wins where a user sets something else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest

from revisage.core.config import RestoreConfig, given_for, make_config, option_of
from revisage.core.errors import ConfigError
from revisage.core.presets import PRESETS, PresetName

DOCS = Path(__file__).resolve().parents[2] / "docs" / "presets.md"


def test_every_name_has_a_record_that_is_a_config_and_may_be_asked_of_a_service() -> None:
    assert tuple(PRESETS) == get_args(PresetName)
    for name, preset in PRESETS.items():
        config = make_config(preset=name)
        assert {key: getattr(config, key) for key in preset.options} == preset.options
        assert all(option_of(key).served for key in preset.options)
    assert make_config(preset="none") == RestoreConfig(preset="none")


def test_the_page_about_them_has_each_with_its_options() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for name, preset in PRESETS.items():
        if name != "none":
            assert f"| `{name}` | {preset.footage} | `{preset.as_words()}` |" in text


def test_what_the_user_gives_wins_wherever_it_stands() -> None:
    assert make_config(preset="archive", denoise=0.25).denoise == 0.25
    assert make_config({"denoise": 0.25}, preset="archive").denoise == 0.25
    assert make_config({"preset": "archive"}, denoise=0.25).denoise == 0.25
    assert make_config({"preset": "archive"}).dust
    assert RestoreConfig(preset="archive").dust


def test_a_saved_config_says_both_and_can_be_fed_back() -> None:
    config = make_config(preset="archive", strength=0.5)
    saved = json.loads(json.dumps(config.model_dump(mode="json", exclude_unset=True)))
    assert saved["preset"] == "archive"
    assert saved.items() >= {"strength": 0.5, **PRESETS["archive"].options}.items()
    assert make_config(saved) == config


def test_a_preset_gives_way_to_another_with_what_it_has_set() -> None:
    saved = make_config(preset="archive", strength=0.5).model_dump(mode="json", exclude_unset=True)
    assert make_config(saved, preset="none") == make_config(preset="none", strength=0.5)
    changed = make_config({**saved, "denoise": 0.25}, preset="film")
    assert changed == make_config(preset="film", strength=0.5, denoise=0.25)


@pytest.mark.parametrize("name", ["webcan", "", ["webcam"], 3])
def test_an_unknown_one_is_told_which_there_are(name: object) -> None:
    with pytest.raises(ConfigError, match="choose one of none, archive, family-tape") as caught:
        make_config(preset=name)
    assert "\n" not in str(caught.value)


def test_options_are_given_where_they_are_neither_default_nor_the_presets() -> None:
    assert given_for(make_config(), "video encoders") == ()
    assert given_for(make_config(crf=20, encoder_preset="fast", carry=4), "video encoders") == ("crf", "encoder_preset")
    assert given_for(make_config(preset="archive"), "frames in a row") == ()
    assert given_for(make_config(preset="archive", dust=False, end=2), "frames in a row") == ("dust", "end")
