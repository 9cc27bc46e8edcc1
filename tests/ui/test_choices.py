"""The settings of the page, without a browser: what becomes of what is chosen there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from revisage.core import PRESETS

pytest.importorskip("streamlit", reason="the extra `ui` is not installed")
testing = pytest.importorskip("streamlit.testing.v1", reason="the extra `ui` is not installed")


def _settings(folder: str) -> None:
    import streamlit

    from revisage.service import open_store
    from revisage.ui.choices import ask_settings

    streamlit.session_state["asked"] = ask_settings(open_store(data_dir=folder))


@pytest.fixture
def page(tmp_path: Path) -> Any:
    return testing.AppTest.from_function(_settings, args=(str(tmp_path),), default_timeout=60).run()


def test_what_it_is_takes_a_preset_and_settings_beside_it_win(page: Any) -> None:
    assert page.session_state["asked"] == {}
    footage = page.selectbox(key="footage")
    assert len(footage.options) == len(PRESETS)
    footage.select("archive").run()
    assert page.session_state["asked"] == {"preset": "archive", **PRESETS["archive"].options}
    page.slider(key="strength").set_value(70).run()
    assert page.session_state["asked"]["strength"] == 0.7
    page.selectbox(key="footage").select("meme").run()
    assert page.slider(key="strength").value == 100 * PRESETS["meme"].options["strength"]
    assert page.session_state["asked"] == {"preset": "meme", **PRESETS["meme"].options}
    page.slider(key="strength").set_value(100).run()
    assert page.session_state["asked"] == {"preset": "meme", "strength": 1.0}


def test_a_strength_goes_by_its_name_or_its_percentage(page: Any) -> None:
    page.button_group(key="named-strength").select("Gentle").run()
    assert page.session_state["asked"] == {"strength": 0.5}
    for percent, name in ((80, "Balanced"), (70, None), (100, "Full")):
        page.slider(key="strength").set_value(percent).run()
        assert page.session_state["named-strength"] == name


def test_settings_kept_by_an_older_version_show_the_name_of_their_strength(page: Any, tmp_path: Path) -> None:
    (tmp_path / "presets.json").write_text(json.dumps({"mine": {"look": "Natural", "strength": 50}}), encoding="utf-8")
    page.run()
    page.selectbox(key="kept").select("mine").run()
    next(button for button in page.button if button.label == "Use").click().run()
    assert page.session_state["asked"] == {"strength": 0.5}
    assert page.session_state["named-strength"] == "Gentle"


def test_texture_is_a_look_of_the_embedded_model(page: Any) -> None:
    page.checkbox(key="texture").check().run()
    assert page.session_state["asked"] == {"look": "natural"}


def test_frames_guide_one_another_where_that_is_ticked(page: Any) -> None:
    page.checkbox(key="guide").check().run()
    assert page.session_state["asked"] == {"guide_frames": True}


def test_no_preset_sets_what_the_page_shows_by_itself() -> None:
    """The page would show one thing, and another would be done; only the strength is set with the preset."""
    shown = {
        "look",
        "upscale",
        "background",
        "min_face",
        "only_center_face",
        "guide_frames",
        "detection_threshold",
        "crf",
    }
    assert not [name for name, preset in PRESETS.items() if shown & preset.options.keys()]
