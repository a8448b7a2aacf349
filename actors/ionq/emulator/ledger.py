"""The ledger: every job that was accepted, and what it cost. What a test counts duplicates and dollars in."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from orchestrator.costs.money import in_usd


@dataclass
class Entry:
    """One accepted job.

    Attributes:
        id, token, name, backend: of the job; token is its metadata's ``qfleet_token``.
        circuits, n_1q, n_2q, shots, is_mitigated, dry_run: what it was priced by; gates are summed over its circuits.
        price_micro_usd: what it costs when it completes. billed_micro_usd: what it has cost. status: the last one known.
    """

    id: str
    token: str | None
    name: str | None
    backend: str
    circuits: int
    n_1q: int
    n_2q: int
    shots: int
    is_mitigated: bool
    dry_run: bool
    price_micro_usd: int
    billed_micro_usd: int = 0
    status: str = "submitted"


class Ledger:
    """All entries, appended to a file of JSON lines as they come and as they end.

    Args:
        path: the file; kept in memory only if absent.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._entries: dict[str, Entry] = {}
        self._file: TextIO | None = path.open("a", encoding="utf-8") if path else None

    def accept(self, entry: Entry) -> None:
        """A job was accepted."""
        self._entries[entry.id] = entry
        self._write("accepted", entry)

    def settle(self, job_id: str, status: str, billed_micro_usd: int) -> bool:
        """A job has ended, or changed its end; returns whether that is new."""
        entry = self._entries[job_id]
        is_new = (entry.status, entry.billed_micro_usd) != (status, billed_micro_usd)
        if is_new:
            entry.status, entry.billed_micro_usd = status, billed_micro_usd
            self._write("ended", entry)
        return is_new

    def billed(self, job_id: str) -> int:
        """Micro-dollars that a job has cost."""
        return self._entries[job_id].billed_micro_usd

    def totals(self) -> dict[str, Any]:
        """Jobs by status, duplicates, circuits, and dollars billed.

        A duplicate is an accepted job whose token, or whose name, an earlier one has.
        """
        statuses = Counter(entry.status for entry in self._entries.values())
        billed = sum(entry.billed_micro_usd for entry in self._entries.values())
        return {
            "jobs_accepted": len(self._entries),
            "duplicates": self._duplicates(),
            "jobs": {
                status: statuses.get(status, 0) for status in ("submitted", "completed", "failed", "canceled")
            },
            "circuits": sum(entry.circuits for entry in self._entries.values()),
            "billed_micro_usd": billed,
            "billed_usd": in_usd(billed),
        }

    def entries(self) -> list[dict[str, Any]]:
        """Every entry as plain data, in the order of acceptance."""
        return [asdict(entry) for entry in self._entries.values()]

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()
            self._file = None

    def _duplicates(self) -> int:
        seen: set[tuple[str, str]] = set()
        duplicates = 0
        for entry in self._entries.values():
            marks = {("token", entry.token), ("name", entry.name)}
            named = {(kind, mark) for kind, mark in marks if mark}
            duplicates += bool(named & seen)
            seen |= named
        return duplicates

    def _write(self, event: str, entry: Entry) -> None:
        if self._file:
            self._file.write(json.dumps({"event": event, **asdict(entry)}) + "\n")
            self._file.flush()
