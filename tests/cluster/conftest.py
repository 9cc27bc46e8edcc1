"""A Ray cluster of this machine, with small stores; everything ends with the tests that asked for it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# What Ray will do in a later version is its own affair: it warns of it once in each process.
os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"

STORE = 100 * 2**20


@pytest.fixture(scope="session")
def cluster() -> Iterator[object]:
    """One machine of one CPU; tests add others, and take them away again."""
    from ray.cluster_utils import Cluster

    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False},
    )
    try:
        yield made
    finally:
        made.shutdown()
