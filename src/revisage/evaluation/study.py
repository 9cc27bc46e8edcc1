"""A blind comparison for people: a page that shows two methods side by side without saying which is which.

The page and its media are a folder that can be given to raters as it is; it works from a disk, without a network. What
is what stands in a key beside the folder, never in it. Media have names that follow from the seed alone.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from revisage._version import __version__
from revisage.core import (
    ConfigError,
    InputError,
    OutputError,
    OutputExistsError,
    check_absent,
    folder_beside,
    write_text,
)
from revisage.evaluation.html_page import page_from, script_json
from revisage.evaluation.results import name_methods
from revisage.media import BROWSER_SUFFIXES, MediaInfo, find_media, format_of, probe

__all__ = ["StudyKey", "Trial", "key_path", "load_key", "make_study"]

_STRICT = ConfigDict(frozen=True, extra="forbid")
QUESTION = "Which of the two looks better?"


class Trial(BaseModel):
    """One question: the thing that is shown, and which method is on which side."""

    model_config = _STRICT

    id: str
    item: str
    left: str
    right: str


class StudyKey(BaseModel):
    """What the page does not say. ``study`` is repeated in each result, so that they cannot be mixed up."""

    model_config = _STRICT

    made_by: str = __version__
    study: str
    seed: int
    question: str
    methods: list[str]
    trials: list[Trial]


@dataclass(frozen=True)
class _Shown:
    """A file that the page shows: its neutral name, its size, and whether it is a video."""

    source: Path
    name: str
    width: int
    height: int
    video: bool


def key_path(folder: Path) -> Path:
    """Where the key of the study in a folder lies: beside it, so that the folder can be given away."""
    return folder.with_name(f"{folder.name}.key.json")


def make_study(
    sources: Sequence[str], folder: Path, *, seed: int = 0, question: str = QUESTION, overwrite: bool = False
) -> StudyKey:
    """Write the page, its media and its key.

    Every pair of methods is asked about for every item. The order is drawn; each method of a pair is on the left in
    half of its trials.

    Args:
        sources: one folder that holds a folder per method; or two or more files or folders, each a method's
            (``NAME=PATH`` names it). Files of folders belong together by their name without extension.
        folder: to be made; the key goes beside it.
        seed: of order and sides.
        question: what raters are asked.
        overwrite: replace an earlier study there.

    Raises:
        InputError: there is nothing to compare, a file has no partner, or browsers cannot show it.
        ConfigError: methods cannot be told apart.
        OutputError: the folder or key exists, or cannot be written.
    """
    items = _items(_methods(sources))
    methods = list(next(iter(items.values())))
    identity = _digest(
        str(seed), question, *(f"{item}/{name}/{file}" for item in items for name, file in _hashed(items[item]))
    )
    shown = {(item, name): _shown(path, identity) for item, files in items.items() for name, path in files.items()}
    trials = _trials(items, methods, seed)
    key = StudyKey(study=identity, seed=seed, question=question, methods=methods, trials=trials)
    _check_target(folder, overwrite)
    _write(folder, key, shown, overwrite)
    return key


def load_key(path: Path) -> StudyKey:
    """The key of a study.

    Raises:
        InputError: there is none, or the file is something else.
    """
    try:
        return StudyKey.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; it was written beside the study's folder") from None
    except (OSError, ValidationError, ValueError):
        raise InputError(f"{path} is no key of a study; it was written beside the study's folder") from None


def _methods(sources: Sequence[str]) -> dict[str, Path]:
    """Each method's file or folder by name."""
    if len(sources) == 1:
        folder = Path(sources[0])
        if not folder.is_dir():
            raise InputError(f"{folder} is no folder; name a folder with one folder per method, or two or more files")
        parts = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        if len(parts) < 2:
            raise InputError(f"{folder} needs a folder for each of two methods or more; it has {len(parts)}")
        return {path.name: path for path in parts}
    named = name_methods(sources)
    kinds = {path.is_dir() for path in named.values()}
    if len(kinds) > 1:
        raise ConfigError("give folders or files, not both")
    return named


def _items(methods: dict[str, Path]) -> dict[str, dict[str, Path]]:
    """For each item the file of each method."""
    for path in methods.values():
        if not path.exists():
            raise InputError(f"{path}: no such file or folder")
    if not next(iter(methods.values())).is_dir():
        return {"item": methods}
    found: dict[str, dict[str, Path]] = {}
    for name, folder in methods.items():
        for path in find_media(folder).files:
            if name in found.setdefault(path.stem, {}):
                raise InputError(f"{path} and {found[path.stem][name].name} have the same name; keep one of them")
            found[path.stem][name] = path
    for stem, files in found.items():
        absent = next((name for name in methods if name not in files), None)
        if absent is not None:
            raise InputError(
                f"{methods[absent]} has nothing called '{stem}', but {next(iter(files.values()))} is there"
            )
    return {stem: {name: files[name] for name in methods} for stem, files in sorted(found.items())}


def _hashed(files: dict[str, Path]) -> list[tuple[str, str]]:
    return [(name, hashlib.sha256(path.read_bytes()).hexdigest()) for name, path in files.items()]


def _digest(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]


def _shown(path: Path, study: str) -> _Shown:
    """A file under a neutral name.

    Raises:
        InputError: browsers cannot show it.
    """
    info = probe(path)
    name = f"{_digest(study, str(path.resolve()))}{path.suffix.lower()}"
    return _Shown(path, name, info.width, info.height, _check_playable(path, info))


def _check_playable(path: Path, info: MediaInfo) -> bool:
    """Whether it is a video; browsers go by the ending of the name."""
    found = format_of(path.suffix)
    if found is None or not found.in_browsers or found.is_video != (info.kind == "video"):
        raise InputError(f"{path}: browsers do not show this format; use one of {', '.join(sorted(BROWSER_SUFFIXES))}")
    if found.is_video and info.codec not in found.in_browsers:
        raise InputError(f"{path} is {info.codec}, which not all browsers play; write H.264 in an .mp4")
    return found.is_video


def _trials(items: dict[str, dict[str, Path]], methods: Sequence[str], seed: int) -> list[Trial]:
    """All questions in their drawn order."""
    random = np.random.default_rng(seed)
    trials = []
    for one, other in itertools.combinations(methods, 2):
        # Half of the items have one on the left; which half is drawn.
        swapped = random.permutation(len(items)) % 2 == 1
        if len(items) % 2 and random.random() < 0.5:
            swapped = ~swapped
        for item, swap in zip(items, swapped, strict=True):
            left, right = (other, one) if swap else (one, other)
            trials.append((item, left, right))
    order = random.permutation(len(trials))
    return [
        Trial(id=f"t{place + 1:03d}", item=trials[number][0], left=trials[number][1], right=trials[number][2])
        for place, number in enumerate(order)
    ]


def _check_target(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; name a folder for the study")
    taken = folder.is_dir() and any(folder.iterdir())
    if taken and not overwrite:
        raise OutputExistsError(f"{folder} is not empty", "name another folder")
    if taken and not (folder / "index.html").exists():
        raise OutputError(f"{folder} holds something other than a study; name another folder")
    check_absent(key_path(folder), overwrite=overwrite)


def _write(folder: Path, key: StudyKey, shown: dict[tuple[str, str], _Shown], overwrite: bool) -> None:
    with folder_beside(folder) as partial:
        (partial / "media").mkdir()
        for entry in shown.values():
            # Without the source's times: they would tell which method ran when.
            shutil.copyfile(entry.source, partial / "media" / entry.name)
        (partial / "index.html").write_text(_page(key, shown), encoding="utf-8")
        write_text(key_path(folder), json.dumps(key.model_dump(), indent=1) + "\n", overwrite=overwrite)


def _page(key: StudyKey, shown: dict[tuple[str, str], _Shown]) -> str:
    def side(trial: Trial, method: str) -> dict[str, object]:
        entry = shown[trial.item, method]
        return {"file": f"media/{entry.name}", "video": entry.video, "width": entry.width, "height": entry.height}

    trials = [
        {"id": trial.id, "left": side(trial, trial.left), "right": side(trial, trial.right)} for trial in key.trials
    ]
    return page_from(
        "study.html",
        {
            "QUESTION": escape(key.question),
            "DATA": script_json({"study": key.study, "trials": trials}),
        },
    )
