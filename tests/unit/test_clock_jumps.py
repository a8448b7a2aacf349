"""A wall clock that jumps by an hour while a run trains: no wait, no figure and no bit follows it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.phases import PHASES
from pipelines import Callback, Trainer
from pipelines.tracking.journal import read_points
from tests.unit.test_storage import config_in

HOUR = 3600.0


class Clock:
    """The machine's clock, off by `off` seconds."""

    def __init__(self) -> None:
        self.off = 0.0
        self._time, self._time_ns = time.time, time.time_ns

    def time(self) -> float:
        return self._time() + self.off

    def time_ns(self) -> int:
        return self._time_ns() + int(self.off * 1e9)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(time, "time", clock.time)
    monkeypatch.setattr(time, "time_ns", clock.time_ns)
    yield clock
    monkeypatch.undo()


@pytest.fixture(autouse=True)
def _no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.trainer.log_outcome", lambda *arguments, **named: None)


class Jumping(Callback):
    """Sets the clock after some steps, and notes what the loop says of each."""

    def __init__(self, clock: Clock, offsets: dict[int, float]) -> None:
        self._clock, self._offsets = clock, offsets
        self.seconds: list[dict[str, float]] = []

    def on_step(self, report: Any, state: Any) -> None:
        self.seconds.append(report.seconds)
        self._clock.off = self._offsets.get(report.step, self._clock.off)


@pytest.mark.parametrize("offsets", [{4: HOUR}, {4: -HOUR}, {3: HOUR, 5: -HOUR, 7: 0.0}])
def test_a_jump_changes_no_bit_and_no_duration(
    tmp_path: Path, clock: Clock, offsets: dict[int, float]
) -> None:
    calm = Trainer(config_in(tmp_path / "calm"), progress=False).fit()
    jumping = Jumping(clock, offsets)
    began = time.monotonic()
    result = Trainer(config_in(tmp_path), callbacks=[jumping], progress=False).fit()
    wall = time.monotonic() - began
    np.testing.assert_array_equal(result.params, calm.params)
    assert result.metrics == calm.metrics
    for seconds in jumping.seconds:
        assert all(0 <= seconds[phase] <= wall for phase in PHASES)
    assert 0 < result.seconds["train"] <= result.seconds["total"] <= wall
    assert sum(sum(seconds.values()) for seconds in jumping.seconds) <= wall
    points, _ = read_points(tmp_path / "runs" / "full" / "metrics.jsonl", 0, 10**6)
    for point in points:
        if point.key.startswith("time/"):
            assert 0 <= point.value <= wall, point
    steps = [point.step for point in points if point.key == "train/loss"]
    assert steps == list(range(1, result.n_steps + 1)), (
        "the order of points is that of steps, whatever their dates"
    )


def test_checkpoints_are_due_by_time_gone_by(tmp_path: Path, clock: Clock) -> None:
    """A day's jump does not make one due at every step, nor none for an hour."""
    saved: list[str] = []

    class Noting(Callback):
        def on_step(self, report: Any, state: Any) -> None:
            saved[:] = sorted(
                each.name for each in (tmp_path / "runs" / "full" / "checkpoints").glob("[0-9]*")
            )
            clock.off += 24 * HOUR

    config = config_in(
        tmp_path, "checkpoint.every_steps=none", "checkpoint.every_seconds=1000", "run.epochs=1"
    )
    Trainer(config, callbacks=[Noting()], progress=False).fit()
    assert saved == []


def test_a_run_does_not_end_before_it_began(tmp_path: Path, clock: Clock) -> None:
    from orchestrator.config import TrackingConfig
    from pipelines.tracking.tracker import Tracker

    with Tracker(tmp_path, TrackingConfig(enabled=False), "set back", {}) as tracker:
        tracker.log_metrics({"train/loss": 1.0}, 1)
        clock.off = -HOUR
        tracker.log_metrics({"train/loss": 0.5}, 2)
    state = tracker.spool.state
    assert state.ended_ms is not None
    assert state.ended_ms >= state.started_ms
