"""The index in a real PostgreSQL, started for this test and stopped after it."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from store_fakes import CONSENT, MADE, SOURCE, frame, track

from revisage.core.errors import ConfigError, InputError, OutputError
from revisage.facestore import Consent
from revisage.facestore.face_store import FaceStore
from revisage.facestore.index import URL_VARIABLE

pytestmark = pytest.mark.slow


def _program(name: str) -> str:
    found = shutil.which(name) or next(map(str, sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))), None)
    if found is None:
        pytest.skip(f"needs PostgreSQL: {name} was not found")
    return found


def _user() -> str | None:
    """PostgreSQL refuses to run as root: another user then."""
    return "nobody" if os.name != "nt" and os.geteuid() == 0 else None


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a server that listens on a socket in a folder of its own."""
    pytest.importorskip("psycopg", reason="needs psycopg")
    initdb, pg_ctl, user = _program("initdb"), _program("pg_ctl"), _user()
    with tempfile.TemporaryDirectory(prefix="revisage-pg-") as name:
        folder = Path(name)
        if user is not None:
            shutil.chown(folder, user)

        def call(*words: str) -> None:
            subprocess.run(words, check=True, user=user, cwd=folder, capture_output=True, timeout=120)

        call(initdb, "-D", f"{folder}/data", "-U", "tester", "-A", "trust", "-N")
        options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
        call(pg_ctl, "-D", f"{folder}/data", "-o", options, "-l", f"{folder}/log", "-w", "start")
        try:
            yield f"postgresql://tester@/postgres?host={folder}"
        finally:
            call(pg_ctl, "-D", f"{folder}/data", "-m", "immediate", "stop")


def test_keep_list_forget_and_purge(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import psycopg

    monkeypatch.setenv(URL_VARIABLE, server)
    folder = tmp_path / "store"
    with FaceStore.create(folder) as store:
        assert store.add([track(0, frame(1), frame(2))], SOURCE, CONSENT, MADE).kept == 2
        assert store.add([track(0, frame(1))], SOURCE, CONSENT, MADE).known == 1
        store.add([track(1, frame(3, left=300.0))], SOURCE, Consent("she too", date(2026, 5, 6)), MADE)
    assert not (folder / "index.sqlite").exists()
    with FaceStore.open(folder) as store:
        store.name("1", "Ada")
        assert [(person.label, len(person.faces)) for person in store.people()] == [("Ada", 2), (None, 1)]
        assert store.forget("Ada") == 2
        assert [face.consent for face in store.faces()] == ["she too"]
    assert len(list(folder.rglob("*.webp"))) == 2
    with pytest.raises(InputError, match="do not belong together"):
        FaceStore.create(tmp_path / "other")
    with FaceStore.open(folder) as store:
        store.purge()
    assert not folder.exists()
    with psycopg.connect(server) as connection:
        rows = connection.execute("select tablename from pg_tables where schemaname = 'public'").fetchall()
    assert rows == []


def test_a_store_remembers_that_its_index_is_elsewhere(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL_VARIABLE, server)
    with FaceStore.create(tmp_path / "store") as store:
        monkeypatch.delenv(URL_VARIABLE)
        with pytest.raises(ConfigError, match="is in a database"):
            FaceStore.open(tmp_path / "store")
        store.purge()


def test_a_server_that_does_not_answer_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL_VARIABLE, f"postgresql://{getpass.getuser()}:secret@/faces?host={tmp_path}")
    with pytest.raises(OutputError, match="its index cannot be used") as caught:
        FaceStore.create(tmp_path / "store")
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
