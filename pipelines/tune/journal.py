"""The journal of a search, ``search.jsonl`` in the study's folder: what was asked for, told and decided, a line each.

It holds plain values and nothing of Optuna's or Ray Tune's. A line is on the disk before what it says is acted upon; one that a kill has
torn is left out, and what it said happens again.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orchestrator.errors import CheckpointError
from pipelines.tune.rungs import Report
from pipelines.tune.search import Outcome, Refused, Search, Trial, as_plain


class Journal:
    """The journal of one search."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def asked(self, trial: Trial) -> None:
        """A trial begins."""
        self._append({
            "event": "asked",
            "trial": trial.number,
            "values": as_plain(trial.values),
            "knows": trial.n_known,
            "allotment": trial.rule.allotment,
            "refused": [{"values": as_plain(one.values), "why": one.why} for one in trial.refused],
        })  # fmt: skip

    def told(self, number: int, report: Report) -> None:
        """A trial has done an epoch."""
        self._append({"event": "told", "trial": number, **report._asdict()})

    def ended(self, number: int, outcome: Outcome) -> None:
        """A trial has ended."""
        self._append({"event": "ended", "trial": number, **asdict(outcome)})

    def read_into(self, search: Search) -> None:
        """Bring a new `search` to where the journal ends.

        Raises:
            CheckpointError: a line that is not the last is damaged.
        """
        for event in self._events():
            kind, number = event.pop("event"), event.pop("trial")
            if kind == "asked":
                refused = tuple(Refused(**one) for one in event["refused"])
                rule = search.rule(event["knows"], event["allotment"])
                search.take_up(Trial(number, event["values"], rule, event["knows"], refused=refused))
            elif kind == "told":
                search.report(number, Report(**event))
            else:
                search.ended(number, Outcome(**event))

    def _events(self) -> list[dict[str, Any]]:
        try:
            lines = self.path.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        events = []
        for i, line in enumerate(lines):
            try:
                events.append(json.loads(line))
                if not line.endswith(b"\n"):
                    raise ValueError("torn")
            except ValueError as error:
                if i + 1 < len(lines):
                    raise CheckpointError(f"{self.path}, line {i + 1} cannot be read: {error}") from None
                os.truncate(self.path, sum(map(len, lines[:i])))
                return events[:i]
        return events

    def _append(self, event: dict[str, Any]) -> None:
        with self.path.open("ab") as file:
            file.write(json.dumps(event).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
