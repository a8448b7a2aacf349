"""What a fleet did in one run: its jobs and what happened to its workers, as far as dispatchers remember."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from orchestrator.planning.failures import FailurePolicy
from orchestrator.protocols import Dispatcher, FleetEvent, JobSpan


class FleetHistory(NamedTuple):
    """Jobs in order of completion, and events, oldest first."""

    spans: Sequence[JobSpan]
    events: Sequence[FleetEvent] = ()

    @classmethod
    def of(cls, dispatcher: Dispatcher, failures: FailurePolicy) -> FleetHistory:
        """That of a run; jobs that a simulator answered in place of the backend have a worker of their own, "fallback"."""
        spans = list(dispatcher.timeline())
        if failures.fallback is not None:
            backend = f"fallback:{failures.fallback_name}"
            simulated = failures.fallback.timeline()
            spans += [span._replace(worker="fallback", backend=backend) for span in simulated]
            spans.sort(key=lambda span: span.finished_at)
        return cls(spans, tuple(dispatcher.events()))

    def write(self, path: Path, redact: Callable[[str], str] = str) -> None:
        """One JSON line a job (``kind`` "job") or event, by time; times in Unix seconds. `redact` takes credentials out of a text."""
        jobs = [
            (
                span.finished_at,
                {"kind": "job", **span._asdict(), "phases": span.phases and span.phases._asdict()},
            )
            for span in self.spans
        ]
        events = [(event.at, event._asdict() | {"text": redact(event.text)}) for event in self.events]
        ordered = sorted([*jobs, *events], key=lambda item: item[0])
        path.write_text("".join(f"{json.dumps(line)}\n" for _, line in ordered), encoding="utf-8")
