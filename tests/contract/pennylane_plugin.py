"""A pytest plugin for PennyLane's own device tests: which of them the device refuses, and every test run once.

Those tests ask for the package `flaky`, which runs a failing test again, up to ten times. Here a test has one chance.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import pytest

REFUSED = {
    "TestSample": "sample: outcomes of single shots, of which a fleet answers only means",
    "TestTensorSample": "sample",
    "TestSampleMeasurement::test_custom_sample_measurement": "sample, by a measurement of the user's own",
    "TestStateMeasurement::test_custom_state_measurement": "state, by a measurement of the user's own",
    "TestStateMeasurement::test_sample_measurement_with_shots": "state; the test wants other words of refusal",
    "TestTemplates::test_BasisRotation": "state",
    "TestTemplates::test_FlipSign": "state",
    "TestTemplates::test_MottonenStatePreparation_state": "state",
}
"""Tests of what the device does not offer, by class or name: each must fail, by its refusal, or be skipped by PennyLane itself."""


def _once(*_arguments: Any, **_options: Any) -> Callable[[Any], Any]:
    """What stands for ``@flaky(max_runs=10)``."""
    return lambda test: test


@pytest.fixture
def mocker() -> None:
    """Asked for by a test of PennyLane's old interface, which then skips itself."""


def pytest_configure() -> None:
    """Let the tests import `flaky`, whether it is installed or not."""
    stand_in = types.ModuleType("flaky")
    stand_in.flaky = _once  # type: ignore[attr-defined]
    sys.modules["flaky"] = stand_in


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Expect refusals where they belong, and nowhere else."""
    from pipelines.frontends.pennylane.errors import QfleetDeviceError

    for item in items:
        for name, reason in REFUSED.items():
            if f"::{name}::" in f"{item.nodeid.partition('[')[0]}::":
                raises = (QfleetDeviceError, AssertionError)
                item.add_marker(pytest.mark.xfail(strict=True, raises=raises, reason=reason))
