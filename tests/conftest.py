"""Fixtures that every room's tests share."""

from __future__ import annotations

import gc
import itertools
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from revisage.media.video import ordinary_priority

if TYPE_CHECKING:
    from store_server import CountingProxy

# The same examples in every run: a failure belongs to its change. `--hypothesis-profile=search` draws new ones.
# Without a deadline: a busy machine is no fault of the code, and speed belongs to the benchmarks.
settings.register_profile("steady", derandomize=True, deadline=None, max_examples=50)
settings.register_profile("search", derandomize=False)
settings.load_profile("steady")

# Converted networks are cached between tests, but never in the user's own cache. Child processes inherit this, and so
# do the workers of xdist: what one of them has compiled, the others read.
if "PYTEST_XDIST_WORKER" not in os.environ:
    _CACHE = tempfile.TemporaryDirectory(prefix="revisage-test-cache-", ignore_cleanup_errors=True)
    os.environ["REVISAGE_CACHE"] = _CACHE.name

# Workers of xdist share the cores: threads for all of them in each worker would wait for one another.
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if _WORKERS > 1:
    for _name in ("OMP_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):
        os.environ.setdefault(_name, str(max(1, (os.cpu_count() or 1) // _WORKERS)))

# As the product does for itself. Where a test imports OpenVINO otherwise, each conversion of its process forks a dozen
# copies of that, torch and all, to report its use over the network: as much processor time again as the tests take.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

LONG_FILES = (
    "test_page.py",
    "test_file_restoration.py",
    "test_ray_runner.py",
    "test_live_page.py",
    "test_storage.py",
    "test_under_fire.py",
    "test_face_restorer.py",
    "test_known_bad.py",
    "test_detector_weights.py",
    "test_scan_parts.py",
    "test_page_in_chromium.py",
    "test_cookbook.py",
    "test_field.py",
    "test_faults.py",
    "test_mutated_files.py",
    "test_averaging.py",
    "test_reader_training.py",
    "test_export.py",
    "test_batch.py",
    "test_gif_round.py",
    "test_locations.py",
    "test_bad_input.py",
    "test_guiding.py",
    "test_without_torch.py",
    "test_http.py",
    "test_cookbook_service.py",
    "test_restorer_training.py",
    "test_gfpgan_stage.py",
    "test_spread.py",
    "test_notebook.py",
    "test_parity_references.py",
    "test_conversion.py",
    "test_work.py",
)
"""Files that take longest, the longest first: begun in this order, lest one worker be left with the last of them while
the others have nothing."""


# Sample media are written by SVT-AV1 too, which takes real-time priority where root runs the tests.
@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup() -> Any:
    with ordinary_priority():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Any:
    with ordinary_priority():
        return (yield)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One more than there are cores: some worker always waits for a browser, a service, a database or a cluster."""
    return (os.cpu_count() or 1) + 1


def pytest_configure(config: pytest.Config) -> None:
    if config.pluginmanager.hasplugin("xdist"):
        config.option.loadscopereorder = False  # the order of the files is the one below


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        tests, places = Counter(item.path for item in items), {name: place for place, name in enumerate(LONG_FILES)}
        items.sort(key=lambda item: (places.get(item.path.name, len(places)), -tests[item.path]))
    if config.option.markexpr:
        return
    slow = pytest.mark.skip(reason="slow: run with -m slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(slow)


def pytest_collection_finish() -> None:
    """Thousands of tests and the libraries stay to the end: no later collection need walk over them."""
    gc.collect()
    gc.freeze()


EXCUSED = (
    "slow:",
    "this CPU has no",
    "this machine has CUDA",
    "there is a GPU here",
    "root may write everywhere",
    "whoever may write anywhere",
    "file modes are of POSIX",
    "needs the right to mount",
    "PostgreSQL does not run as root",
)
"""Beginnings of the reasons to skip that lie in the machine or the user: no material and no package mends them."""


def _not_silently(report: Any) -> Any:
    """The report, failed if it is of a test that was skipped where everything is said to be there."""
    if os.environ.get("REVISAGE_REQUIRE_SHARED") != "1" or not report.skipped or hasattr(report, "wasxfail"):
        return report
    reason = report.longrepr[2].removeprefix("Skipped: ")
    if not reason.startswith(EXCUSED):
        report.outcome = "failed"
        report.longrepr = f"REVISAGE_REQUIRE_SHARED=1 says that nothing is missing here, but the test skips: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Any:
    return _not_silently((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Any:
    return _not_silently((yield))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of development material beside the checkout: goldens, clips, weights, images."""
    folder = Path(os.environ.get("REVISAGE_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    if not folder.is_dir():
        pytest.skip("needs the development material: set REVISAGE_SHARED to its folder")
    return folder


@pytest.fixture
def fresh_networks() -> Iterator[None]:
    """What the test puts in the place of a network is neither missed by it nor met by those that follow."""
    from revisage.pipeline import drop_networks

    drop_networks()
    yield
    drop_networks()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a small untrained restorer that changes every face a little."""
    from sample_media import write_tiny_model

    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.safetensors")


@pytest.fixture(scope="session")
def compiled_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network in OpenVINO's form: child processes run it without loading torch, which takes seconds."""
    from sample_media import write_tiny_compiled_model

    return write_tiny_compiled_model(tmp_path_factory.mktemp("model") / "tiny.xml")


@pytest.fixture(scope="session")
def face_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Matroska video of 12 frames, 480 x 270 px, of one face about 115 px wide, with sound."""
    from sample_media import face_frames, write_video

    return write_video(tmp_path_factory.mktemp("clip") / "talk.mkv", face_frames(12), audio=True)


@pytest.fixture(scope="session")
def s3() -> Iterator[CountingProxy]:
    """An S3 server that this process, and those that it begins, know as their own."""
    from store_server import s3_server

    with s3_server() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield server


_BUCKETS = itertools.count()


@pytest.fixture
def bucket(s3: CountingProxy) -> Any:
    """An empty bucket."""
    from revisage.media import as_path

    made = as_path(f"s3://bucket-{next(_BUCKETS)}")
    made.mkdir()
    return made
