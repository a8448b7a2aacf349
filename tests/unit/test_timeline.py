"""What a fleet timeline shows: lifetimes, kinds of jobs, rests and losses; as figures, and as drawn."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from orchestrator.jobs import JobPhases
from orchestrator.planning.failures import FailurePolicy
from orchestrator.protocols import FleetEvent, JobSpan
from pipelines.plots import fleet_timeline, timeline_figure
from pipelines.plots.timeline_rows import covered_shares, timeline_rows
from pipelines.watching.history import FleetHistory

T0 = 1.8e9


def job(worker: str, begin: float, end: float, **more: Any) -> JobSpan:
    return JobSpan(worker, f"{worker}-{begin}", T0 + begin, T0 + end, **more)


def event(at: float, kind: str, worker: str = "", text: str = "") -> FleetEvent:
    return FleetEvent(T0 + at, kind, worker, text)


def test_half_are_lost_and_twice_as_many_join() -> None:
    spans = [job(w, t, t + 1) for w in ("actor-0", "actor-1", "actor-10") for t in (0, 1)]
    spans += [job(w, t, t + 1) for w in ("actor-0", "actor-2") for t in range(4, 10)]
    events = [event(-1, "joined", w) for w in ("actor-0", "actor-1", "actor-10")]
    events += [
        event(2.5, "lost", "actor-1", "killed"),
        event(2.5, "lost", "actor-10"),
        event(3, "joined", "actor-2"),
    ]
    events += [event(20, "left", "actor-2"), event(-5, "joined", "actor-9"), event(-3, "lost", "actor-9")]
    rows, span = timeline_rows(spans, events)
    assert span == 10.0
    assert [(row.worker, row.here, row.n_jobs) for row in rows] == [
        ("actor-0", (0.0, 10.0), 8), ("actor-1", (0.0, 2.5), 2), ("actor-2", (3.0, 10.0), 6), ("actor-10", (0.0, 2.5), 2),
    ]  # fmt: skip
    assert [row.used for row in rows] == pytest.approx([0.8, 0.8, 6 / 7, 0.8])
    assert [row.marks for row in rows] == [[], [(2.5, "lost")], [(3.0, "joined")], [(2.5, "lost")]]
    alive = sum(covered_shares(np.array([row.here]), np.linspace(0, 10, 21)) for row in rows)
    assert alive.tolist() == [3] * 5 + [1] + [2] * 14


def test_rests_end_with_the_next_good_sign_or_the_timeline() -> None:
    spans = [job("a", 0, 1), job("b", 0, 10)]
    events = [event(t, "resting", "a") for t in (1, 1.5)]
    events += [
        event(4, "back", "a"),
        event(5, "resting", "a"),
        event(6, "lost", "a"),
        event(9, "resting", "b"),
    ]
    first, second = timeline_rows(spans, events)[0]
    assert first.rests.tolist() == [[1, 4], [5, 6]]
    assert second.rests.tolist() == [[9, 10]]
    assert (first.marks, second.marks) == ([(6.0, "lost")], [])


def test_jobs_that_were_not_simply_computed() -> None:
    served = JobPhases(0, 0, 0, 0, 0, 0, is_served=True)
    spans = [
        job("a", 0, 1, cache_hit=False),
        job("a", 1, 2),
        job("a", 2, 3, phases=served),
        job("fallback", 3, 4, backend="fallback:ideal", cache_hit=False),
    ]
    first, second = timeline_rows(spans)[0]
    assert {kind: bounds.tolist() for kind, bounds in first.of_kind.items()} == {
        "compiled first": [[0, 1]], "served from the record": [[2, 3]],
    }  # fmt: skip
    assert list(second.of_kind) == ["simulated instead"]


def texts(figure: Any) -> list[str]:
    return [
        text.get_text()
        for axes in figure.axes
        for text in (axes.get_legend().get_texts() if axes.get_legend() else [])
    ]


def test_the_legend_names_what_is_drawn_and_nothing_else() -> None:
    spans = [job("a", 0, 1, cache_hit=False), job("a", 1, 10), job("b", 0, 4)]
    assert texts(timeline_figure([job("a", 0, 1)])) == []
    events = [
        event(5, "lost", "b"),
        event(6, "duplicated", "a"),
        event(2, "resting", "a"),
        event(3, "waiting"),
    ]
    figure = timeline_figure(spans, events)
    assert texts(figure) == ["compiled first", "lost", "duplicated", "resting"]
    marks = [
        c.get_offsets().tolist()
        for c in figure.axes[0].collections
        if len(c.get_offsets()) == 1 and c.get_label() == "lost"
    ]
    assert marks == [[[5.0, 1.0]]]


def test_twenty_thousand_jobs_of_sixty_four_actors(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    spans, events = [], []
    for w in range(64):
        ends = np.cumsum(rng.exponential(0.03, 312))
        spans += [job(f"actor-{w}", e - 0.015, e, cache_hit=j > 2) for j, e in enumerate(ends)]
        events += [event(-3, "joined", f"actor-{w}"), event(float(ends[-1]), "lost", f"actor-{w}")]
    started = time.process_time()
    fleet_timeline(spans, tmp_path / "t.png", events=events)
    assert time.process_time() - started < 10  # 0.7 s on a quiet machine
    assert (tmp_path / "t.png").stat().st_size < 1_000_000


def test_the_history_holds_the_simulator_that_stood_in(tmp_path: Path) -> None:
    def dispatcher(spans: list[JobSpan], events: list[FleetEvent]) -> Any:
        return SimpleNamespace(timeline=lambda: spans, events=lambda: events)

    phases = JobPhases(0.1, 0.2, 0, 0, 0, 0)
    stand_in = dispatcher([job("serial", 1, 2)], [])
    failures = FailurePolicy("simulate", fallback=stand_in, fallback_name="noisy:aria-1")
    fleet = dispatcher(
        [job("actor-0", 0, 1, step=3), job("actor-0", 1, 4, phases=phases)],
        [event(2.5, "lost", "actor-0", "why: key")],
    )
    history = FleetHistory.of(fleet, failures)
    assert [(span.worker, span.backend) for span in history.spans] == [
        ("actor-0", ""), ("fallback", "fallback:noisy:aria-1"), ("actor-0", ""),
    ]  # fmt: skip
    history.write(tmp_path / "t.jsonl", lambda text: text.replace("key", "***"))
    lines = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["kind"] for line in lines] == ["job", "job", "lost", "job"]
    assert lines[0]["step"] == 3
    assert lines[2] == {"at": T0 + 2.5, "kind": "lost", "worker": "actor-0", "text": "why: ***"}
    assert lines[3]["phases"]["submit"] == 0.2
