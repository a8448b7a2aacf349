"""The environment that every test runs in, whoever starts it: `make test`, `.ci/run`, an editor, or plain `pytest`.

Set here, at import, because Ray and MLflow read much of it when they are imported. Nothing of the machine reaches the tests: no
running cluster is joined, no tracking server is written to, no paid provider is called, and no usage data leaves.
"""

from __future__ import annotations

import atexit
import functools
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

_REMOVED = (
    "CIRQ_IONQ_API_KEY",
    "CIRQ_IONQ_REMOTE_HOST",
    "IONQ_API_KEY",  # a test never spends money
    "IONQ_REMOTE_HOST",
    "MLFLOW_EXPERIMENT_ID",
    "MLFLOW_EXPERIMENT_NAME",
    "MLFLOW_REGISTRY_URI",
    "MLFLOW_RUN_ID",
    "MLFLOW_TRACKING_URI",  # nor logs to a server that people look at
    "PYTHONDONTWRITEBYTECODE",  # every Ray process would compile all that it imports
    "RAY_ADDRESS",
    "RAY_JOB_CONFIG_JSON_ENV_VAR",  # set inside a Ray job, which the tests are not part of
    "RAY_NAMESPACE",
)

_SET = {
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",  # our models must load without pickle
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # a server that is down is noticed in seconds instead of minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # two server processes instead of ten
    "MPLBACKEND": "Agg",
    "OMP_NUM_THREADS": "1",  # PyTorch's threads wait for each other busily, and every core has a worker already
    "OPENBLAS_NUM_THREADS": "1",
    "RAY_AUTH_MODE": "disabled",  # or Ray makes a token in the home folder
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}


def _make_hermetic() -> None:
    for name in _REMOVED:
        os.environ.pop(name, None)
    os.environ.update(_SET)
    # Servers of the tests are on loopback; a proxy has no part in that.
    for name in ("NO_PROXY", "no_proxy"):
        hosts = [host for host in os.environ.get(name, "").split(",") if host]
        os.environ[name] = ",".join(dict.fromkeys([*hosts, "127.0.0.1", "localhost"]))
    if "RAY_TMPDIR" not in os.environ:
        # Short, because Unix sockets live below it and their paths may have 107 characters. Registered before Ray registers its own
        # shutdown, so removed after it.
        folder = os.environ["RAY_TMPDIR"] = tempfile.mkdtemp(prefix="qf.", dir="/tmp")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)


_make_hermetic()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `alone` come first: with several workers they are one worker's for most of the time."""
    items.sort(key=lambda item: item.get_closest_marker("alone") is None)


@functools.cache
def _alone(path: Path) -> tuple[bool, frozenset[str]]:
    """Whether all tests of a file are marked `alone`, and else the names of those that are."""
    text = path.read_text()
    names = re.findall(r"^@pytest\.mark\.alone$.*?^def (test_\w+)", text, re.MULTILINE | re.DOTALL)
    return re.search(r"^pytestmark = .*\balone\b", text, re.MULTILINE) is not None, frozenset(names)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> None:
    """A worker that has a test of another kind gives way from then on to the one with those marked `alone`: they come one after the other,
    mostly wait, and decide when all is over."""
    if "PYTEST_XDIST_WORKER" in os.environ and item.get_closest_marker("alone") is None:
        _give_way()


@functools.cache
def _give_way() -> None:
    """Once in a process."""
    os.nice(19)  # Ray gives its actors 15


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With several workers (pytest-xdist): all tests marked `alone` go to one of them, the others file by file.

    Decided from the text of the files: who schedules has names of tests, and not their marks.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file, _, test = nodeid.partition("::")
            is_whole_file, names = _alone(config.rootpath / file)
            return "alone" if is_whole_file or test.partition("[")[0] in names else file

    return Scheduling(config, log)
