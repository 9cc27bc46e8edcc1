"""Files and jobs in the store, on SQLite and on PostgreSQL."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from revisage.core.config import RestoreConfig
from revisage.core.errors import ConfigError, InputError, ModelError
from revisage.service.http.schemas import JOB_REQUEST
from revisage.service.jobs import intake as service
from revisage.service.jobs.database import meta
from revisage.service.jobs.job import (
    BusyError,
    NotFoundError,
    QuotaError,
    ReusedKeyError,
    StillAtWorkError,
    TooLargeError,
)
from revisage.service.jobs.job_store import JobStore, clean_name
from revisage.service.jobs.rights import Leases, add_token, check_token, list_tokens, revoke_token

Opened = Callable[..., JobStore]
GIF = b"GIF89a" + bytes(2000)


def received(store: JobStore, name: str = "a.gif", data: bytes = GIF) -> service.InputFile:
    return service.receive(store, io.BytesIO(data), name)


def test_an_upload_is_kept_under_a_name_of_the_stores_own(open_store: Opened) -> None:
    store = open_store()
    file = received(store, "../../etc/pass\x00wd.mp4")
    assert (file.name, file.format, file.bytes) == ("passwd.mp4", "gif", len(GIF))
    path = store.input_path(file)
    assert path.parent == store.folder.base / "inputs"
    assert path.read_bytes() == GIF
    assert list((store.folder.base / "uploads").iterdir()) == []


@pytest.mark.parametrize("data", [b"", b"#EXTM3U\nfile:///etc/passwd\n", b"ffconcat version 1.0\n", bytes(100)])
def test_what_is_no_medium_is_refused_and_removed(open_store: Opened, data: bytes) -> None:
    store = open_store()
    with pytest.raises(InputError, match=r"^clip\.mp4 "):
        received(store, "clip.mp4", data)
    assert [path for path in store.folder.base.rglob("*") if path.suffix in (".part", ".mp4")] == []


def test_limits_of_size_and_room(open_store: Opened) -> None:
    store = open_store(max_upload_bytes=3000, max_disk_bytes=5000)
    received(store)
    received(store)
    with pytest.raises(QuotaError, match="no room"):
        received(store)
    with pytest.raises(TooLargeError, match=r"0\.003 MB"):
        received(store, data=GIF * 2)
    assert store.used_bytes() == 2 * len(GIF)


def test_jobs_come_a_page_at_a_time(open_store: Opened, clock: Callable[[], float]) -> None:
    store = open_store()
    file = received(store)
    made = []
    for _ in range(5):
        made.append(service.restore(store, file.id).id)
        clock.now += 1  # type: ignore[attr-defined]
    store.cancel(made[1])
    first = store.jobs(limit=2)
    second = store.jobs(limit=2, after=first.next)
    third = store.jobs(limit=2, after=second.next)
    assert [job.id for page in (first, second, third) for job in page.jobs] == made[::-1]
    assert third.next is None
    assert [job.id for job in store.jobs(status="cancelled").jobs] == [made[1]]
    assert store.counts() == {("restore", "queued"): 4, ("restore", "cancelled"): 1}


def test_a_key_makes_one_job(open_store: Opened) -> None:
    store = open_store()
    file = received(store)
    first = store.create_job(file.id, idempotency_key="k", request_digest="x")
    assert store.create_job(file.id, idempotency_key="k", request_digest="x").id == first.id
    assert store.create_job(file.id, idempotency_key="k", request_digest="x", owner="eve").id != first.id
    with pytest.raises(ReusedKeyError, match="another request"):
        store.create_job(file.id, idempotency_key="k", request_digest="y")


def test_the_number_of_waiting_jobs_is_limited(open_store: Opened) -> None:
    store = open_store(max_active_jobs=2)
    file = received(store)
    first, _ = service.restore(store, file.id), service.restore(store, file.id)
    with pytest.raises(BusyError, match="2 jobs"):
        service.restore(store, file.id)
    service.look(store, file.id)  # somebody waits for it: it is counted by itself
    store.cancel(first.id)
    service.restore(store, file.id)


def test_deleting_takes_everything_along_but_not_what_others_need(open_store: Opened) -> None:
    store = open_store()
    file = received(store)
    first, second, look = service.restore(store, file.id), service.restore(store, file.id), service.look(store, file.id)
    with pytest.raises(StillAtWorkError, match="cancel it first"):
        store.delete(first.id)
    for job in (first, second, look):
        store.cancel(job.id)
        store.folder.job_folder(job.id).mkdir()
    store.delete(first.id)
    assert store.input(file.id) == file
    store.delete(second.id)
    with pytest.raises(NotFoundError):
        store.input(file.id)
    with pytest.raises(NotFoundError):
        store.job(look.id)
    assert list((store.folder.base / "jobs").iterdir()) == list((store.folder.base / "inputs").iterdir()) == []


def test_a_file_named_by_path_is_never_deleted(open_store: Opened, tmp_path: Path) -> None:
    own = tmp_path / "own.gif"
    own.write_bytes(GIF)
    store = open_store()
    job = service.restore(store, store.add_path(own).id)
    store.cancel(job.id)
    store.delete(job.id)
    assert own.read_bytes() == GIF
    assert store.used_bytes() == 0


def test_finished_jobs_are_swept_when_their_time_is_over(open_store: Opened, clock: Callable[[], float]) -> None:
    store = open_store(keep_days=2)
    file = received(store)
    short, long, waiting = (service.restore(store, file.id, keep_seconds=keep) for keep in (3600, None, None))
    for job in (short, long):
        store.cancel(job.id)
    clock.now += 3601  # type: ignore[attr-defined]
    assert store.sweep() == 1
    clock.now += 2 * 86400  # type: ignore[attr-defined]
    assert store.sweep() == 1
    assert [job.id for job in store.jobs().jobs] == [waiting.id]
    assert store.input(file.id) == file


def test_a_failed_job_can_be_tried_again(open_store: Opened) -> None:
    store = open_store()
    job = service.restore(store, received(store).id)
    leases = Leases(store, "restore")
    lease = leases.take()
    assert lease is not None
    assert leases.failed(lease, "no luck", "failed")
    assert (store.job(job.id).status, store.job(job.id).error) == ("failed", "no luck")
    again = store.retry(job.id)
    assert (again.status, again.error, again.finished) == ("queued", None, None)
    with pytest.raises(StillAtWorkError, match="queued"):
        store.retry(job.id)


def test_tokens_are_kept_as_hashes_and_can_be_revoked(open_store: Opened) -> None:
    store = open_store()
    secret = add_token(store, "lab")
    token = check_token(store, secret)
    assert token is not None
    assert token.name == "lab"
    assert check_token(store, secret + "x") is None
    for path in store.folder.base.rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes()
    revoke_token(store, token.id)
    assert check_token(store, secret) is None
    assert list_tokens(store)[0].revoked is not None
    with pytest.raises(NotFoundError):
        revoke_token(store, token.id)
    with pytest.raises(ConfigError, match="letters"):
        add_token(store, "a b")


def test_a_store_of_another_version_is_refused(open_store: Opened) -> None:
    store = open_store()
    with store.database.write() as connection:
        connection.execute(sa.update(meta).values(value="999"))
    with pytest.raises(ConfigError, match="schema 999"):
        open_store()


def test_configs_are_checked_and_can_name_no_file() -> None:
    assert service.checked_config({"strength": 0.5, "end": "1:00"}) == {"strength": 0.5, "end": "60"}
    with pytest.raises(ConfigError, match="unknown option 'strenght'; did you mean 'strength'"):
        service.checked_config({"strenght": 1})
    for name in ("save_faces", "save_frames", "compare", "report", "overwrite", "dry_run", "workers"):
        with pytest.raises(ConfigError, match=f"'{name}' cannot be given"):
            service.checked_config({name: "x"})
    with pytest.raises(ModelError, match="unknown model"):
        service.checked_config({"model": "/etc/passwd"})


def test_what_openapi_offers_is_what_jobs_take() -> None:
    form = JOB_REQUEST["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    offered = form["config"]["contentSchema"]["properties"]
    told = form["config"]["description"].partition("Among ")[2].rstrip(".").split(", ")
    assert told == list(offered)
    for name, field in RestoreConfig.model_fields.items():
        if name in offered:
            assert service.checked_config({name: field.default}).keys() == {name}
        else:
            with pytest.raises(ConfigError, match=f"'{name}' cannot be given"):
                service.checked_config({name: field.default})


def test_every_text_option_was_looked_at() -> None:
    """A new option that takes free text may name a file: look at it, then add it here or refuse it."""
    fields = RestoreConfig.model_fields
    text = {name for name, field in fields.items() if str in (field.annotation, *get_args(field.annotation))}
    names_of_people = {"who", "only", "except_", "reader"}
    assert text == {
        "model",
        "codec",
        "encoder_preset",
        "pixel_format",
        "consent",
        "suffix",
        "ext",
        "device",
        *names_of_people,
    }


@given(st.text())
def test_names_never_are_paths(name: str) -> None:
    cleaned = clean_name(name)
    assert 0 < len(cleaned) <= 200
    assert not set(cleaned) & set("/\\\0\n\r")


def test_a_queued_job_overtakes_the_one_before_it(open_store: Opened, clock: Any) -> None:
    store = open_store()
    file = service.receive(store, io.BytesIO(GIF), "a.gif")
    made = []
    for _ in range(3):
        clock.now += 1
        made.append(service.restore(store, file.id).id)
    store.overtake(made[0])  # nobody waits before it
    store.overtake(made[2])
    taken = [Leases(store, "restore").take() for _ in range(3)]
    assert [lease.job.id for lease in taken if lease is not None] == [made[0], made[2], made[1]]
    store.overtake(made[1])  # at work by now
    with pytest.raises(NotFoundError):
        store.overtake("none")
