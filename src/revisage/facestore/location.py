"""Where a store lies: a folder with a marker in it, pictures, and by default the index."""

from __future__ import annotations

import json
import os
import re
import uuid
from dataclasses import dataclass
from pathlib import Path

from revisage.core import ConfigError, InputError, MissingExtraError, OutputError

__all__ = ["MARKER", "URL_VARIABLE", "Place", "check_place", "create_place", "find_place"]

MARKER = "store.json"
URL_VARIABLE = "REVISAGE_STORE_INDEX"
"""Environment variable with the address of a PostgreSQL database for the index. Not an option: options go into reports,
and an address may hold a password."""

_SQLITE = "index.sqlite"
_WHAT = "revisage face store"


@dataclass(frozen=True)
class Place:
    """A store's folder.

    Attributes:
        folder: it holds the marker, ``pictures/`` and, unless the index is elsewhere, ``index.sqlite``.
        id: of the store; the index has the same.
        url: SQLAlchemy URL of the index.
    """

    folder: Path
    id: str
    url: str

    @property
    def pictures(self) -> Path:
        """Folder of the pictures."""
        return self.folder / "pictures"

    @property
    def sqlite(self) -> Path | None:
        """The index's file, when it is in the folder."""
        path = self.folder / _SQLITE
        return path if self.url == _sqlite_url(self.folder) else None


def find_place(folder: Path) -> Place:
    """The store in a folder.

    Raises:
        InputError: there is none, or its marker is damaged.
        ConfigError: its index is in a database whose address is not known.
        MissingExtraError: SQLAlchemy is not installed.
    """
    _refuse_address(folder)
    _need_sqlalchemy()
    if folder.is_file():
        raise InputError(f"{folder} is a file; a face store is a folder")
    marker = folder / MARKER
    try:
        values = json.loads(marker.read_text(encoding="utf-8"))
        identity, index = str(values["id"]), str(values["index"])
        right = values["what"] == _WHAT and values["version"] == 1
    except FileNotFoundError:
        raise InputError(f"{folder} is no face store; restore with --collect {folder} makes one") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{marker} is damaged: {' '.join(str(error).split())}") from None
    if not right:
        raise InputError(f"{marker} is not of a face store that this version reads")
    return Place(folder, identity, _url(folder, index))


def check_place(folder: Path) -> None:
    """Refuse, before any work, a folder that cannot become or is no usable store.

    Raises:
        OutputError: it is a file, holds other things, or is read-only.
        UserError: as for :func:`find_place`.
    """
    _refuse_address(folder)
    _need_sqlalchemy()
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; a face store is a folder")
    if (folder / MARKER).exists():
        find_place(folder)
    elif folder.is_dir() and any(folder.iterdir()):
        raise OutputError(f"{folder} holds other files; name an empty or a new folder for the face store")
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not os.access(existing, os.W_OK):
        raise OutputError(f"{folder}: the folder {existing} is read-only; name another for the face store")


def create_place(folder: Path) -> Place:
    """The store in a folder, made when there is none; nobody but this user may look into a new one.

    Raises:
        UserError: as for :func:`check_place`.
    """
    check_place(folder)
    marker = folder / MARKER
    if not marker.exists():
        index = "database" if os.environ.get(URL_VARIABLE) else "sqlite"
        values = {"what": _WHAT, "version": 1, "id": uuid.uuid4().hex, "index": index}
        partial = marker.with_name(f".{MARKER}.{values['id']}.part")
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            partial.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
            partial.replace(marker)
        except OSError as error:
            raise OutputError(f"cannot write {marker}: {error.strerror or error}") from error
    return find_place(folder)


def _url(folder: Path, index: str) -> str:
    if index == "sqlite":
        return _sqlite_url(folder)
    url = os.environ.get(URL_VARIABLE)
    if not url:
        raise ConfigError(f"the index of {folder} is in a database: put its address into {URL_VARIABLE}")
    return url


def _sqlite_url(folder: Path) -> str:
    return f"sqlite:///{(folder / _SQLITE).absolute()}"


def _refuse_address(folder: Path) -> None:
    if re.match(r"[A-Za-z][\w+]+:/", str(folder)):
        raise ConfigError(f"a face store is a folder; the address of a database for its index goes into {URL_VARIABLE}")


def _need_sqlalchemy() -> None:
    try:
        import sqlalchemy  # noqa: F401 - whether it is there
    except ImportError:
        raise MissingExtraError("a face store", "store") from None
