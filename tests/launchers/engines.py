"""Engines: Ray and Slurm for tests, started on this machine, of two nodes each, and gone at the end."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, NoReturn

import pytest

LOOPBACK = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # every listener is on 127.0.0.1
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",  # else a token is written into the user's home
}


def missing(why: str) -> NoReturn:
    """Skips a test for want of an engine; in CI, which installs all, it fails."""
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


@contextmanager
def ray_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any, Any]]:
    """A cluster whose head does no work, and its two nodes of a core each."""
    if not find_spec("ray"):
        missing("Ray is not installed: pip install 'sddcli[ray]'")
    for name, value in LOOPBACK.items():
        monkeypatch.setenv(name, value)
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **small})
    try:
        yield cluster, *(cluster.add_node(num_cpus=1, **small) for _ in range(2))
    finally:
        cluster.shutdown()
