"""One real Ray and one MLflow server for all integration tests: starting one per test would cost seconds each time."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest
import ray

from tests.integration.mlflow_server import MlflowServer


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


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """A server on loopback; tests take experiments of their own, and one that stops it starts it again."""
    one = MlflowServer(tmp_path_factory.mktemp("server"))
    one.start()
    yield one
    one.kill()
