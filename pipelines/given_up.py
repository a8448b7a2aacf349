"""The jobs of a run that failed for good and were not the end of it, one JSON line each, in ``given_up.jsonl`` of the run's folder.

A line is on disk before the step goes on without its job, so that a resumed run takes the same decision and ends on the same bits. A
half-written last line belongs to a decision that had no consequence yet; it is cut off.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import CheckpointError
from orchestrator.jobs import FailedJob
from orchestrator.planning.failures import GIVEN_UP, Action


def copy_given_up(source: Path, made: Path) -> None:
    """Have the run in folder `made` take the decisions of the one in `source`, where it asks for the same jobs.

    Raises:
        CheckpointError: a file cannot be read or written.
    """
    try:
        if (source / GIVEN_UP).exists():
            (made / GIVEN_UP).write_bytes((source / GIVEN_UP).read_bytes())
    except OSError as error:
        raise CheckpointError(f"{source / GIVEN_UP} cannot be copied: {error}") from None


class GivenUpFile:
    """See `orchestrator.planning.failures.GivenUpJobs`.

    Args:
        folder: the run's folder.

    Raises:
        CheckpointError: the file cannot be read, or a line of it is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / GIVEN_UP
        self._jobs: set[str] = set()
        if self._path.exists():
            self._read()

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._jobs

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, failed: Sequence[FailedJob], action: Action, step: int) -> None:
        """Some more, on disk when this returns.

        Args:
            action: what is done about them. step: steps done.

        Raises:
            CheckpointError: the disk refuses.
        """
        lines = [
            json.dumps({"job": one.job_id, "step": step, "action": action, "error": str(one.error)})
            for one in failed
        ]
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write("".join(f"{line}\n" for line in lines))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise CheckpointError(f"{self._path} cannot be written: {error.strerror}") from None
        self._jobs.update(one.job_id for one in failed)

    def _read(self) -> None:
        try:
            content = self._path.read_bytes()
            whole = content.rfind(b"\n") + 1
            if whole != len(content):
                os.truncate(self._path, whole)
        except OSError as error:
            raise CheckpointError(f"{self._path} cannot be read: {error.strerror}") from None
        for number, line in enumerate(content[:whole].splitlines(), start=1):
            try:
                self._jobs.add(str(json.loads(line)["job"]))
            except (ValueError, TypeError, KeyError):
                raise CheckpointError(
                    f"{self._path}, line {number}, is damaged; remove it to have its job asked for again"
                ) from None
