"""One real Ray for all integration tests: starting one per test would cost seconds each time."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest
import ray


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """A Ray of this process with 2 CPUs, whatever the machine has; its folder is tests/conftest.py's RAY_TMPDIR."""
    if ray.is_initialized():
        ray.shutdown()  # another test's, of unknown size
    os.environ["RAY_metrics_report_interval_ms"] = "1000"  # noqa: SIM112 (Ray spells it so); ten seconds otherwise
    ray.init(
        address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
    )
    yield
    ray.shutdown()
