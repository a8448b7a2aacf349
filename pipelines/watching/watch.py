"""Watch: all that tells the outside of one run while it goes on, opened and closed with it."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from actors.json_log import JsonLog, log_context
from orchestrator.errors import InputError
from orchestrator.protocols import Dispatcher
from orchestrator.redaction import Redactor
from orchestrator.training.reports import Totals
from pipelines.display.protocol import Progress
from pipelines.display.several import SeveralDisplays
from pipelines.tracking.provenance import ray_submission_id
from pipelines.watching.live_status import LiveStatus, Tick
from pipelines.watching.ray_metrics import ray_metrics
from pipelines.watching.run_log import RUN_LOG, LogDisplay
from pipelines.watching.status_file import FAILED, FINISHED, STOPPED

if TYPE_CHECKING:
    from pipelines.run_folder import RunFolder
    from pipelines.run_setup import PreparedRun

_log = logging.getLogger(__name__)
_SECRET_NAME = re.compile(r"API_?KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL", re.I)


class Watch:
    """Status file, log and metrics of one run; a context, in which the run goes on.

    Args:
        folder: the run's folder. run: what is trained. before: what it has used when this process takes it up.
        log_file: a second place for the log's lines.
    """

    def __init__(
        self, folder: RunFolder, run: PreparedRun, before: Totals, log_file: Path | None = None
    ) -> None:
        self._folder, self._run, self._before, self._log_file = folder, run, before, log_file
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        run, folder = self._run, self._folder
        redact = redactor(run.config.tracking.uri)
        self._stack.enter_context(log_context(run=folder.name))
        logs = []
        for path in (folder.path / RUN_LOG, self._log_file):
            if path is not None:
                try:
                    logs.append(self._stack.enter_context(JsonLog(path, {"run": folder.name}, redact)))
                except OSError as error:  # a run does not fail because it cannot be watched
                    _log.warning("%s is not written: %s", path, error.strerror)
        listeners: list[Callable[[Tick], None]] = []
        if run.config.fleet.dispatcher == "ray":
            listeners.append(ray_metrics(folder.name, run.config.backend.name, self._before))
        backend = run.config.backend
        about: dict[str, Any] = {
            "run": folder.name,
            "backend": backend.name,
            "target": (", ".join(backend.targets) or backend.target) if backend.name == "ionq" else None,
            "dispatcher": run.config.fleet.dispatcher,
            "ray_job_id": ray_submission_id(),
        }
        has_validation = run.task.validation is not None
        self._status = LiveStatus(
            folder.path, about, n_batches=run.task.n_batches if has_validation else 0, redact=redact,
            listeners=listeners,
        )  # fmt: skip
        self._stack.callback(self._status.close)
        self._display = SeveralDisplays([self._status, LogDisplay(logs)])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, KeyboardInterrupt):
            self.end(STOPPED, str(error) or "interrupted")
        elif error is not None:
            # The command says it on the console.
            _log.error("%s: %s", type(error).__name__, error, exc_info=error, extra={"is_shown": True})
            self.end(FAILED, f"{type(error).__name__}: {error}")
        self._stack.close()

    def beside(self, display: Progress, title: str, details: Sequence[str]) -> Progress:
        """`display`, which has started, and what is told here, as one."""
        self._display.start(title, details)
        self._all = SeveralDisplays([display, self._display])
        return self._all

    def watch(self, dispatcher: Dispatcher) -> None:
        """From now on the workers are those of `dispatcher`."""
        self._status.watch(dispatcher)

    def waits(self, text: str) -> None:
        """The fleet waits for what the cluster has not got: `text`, which everybody is shown."""
        self._status.waits(text)
        self._all.message(text)

    def end(self, state: str = FINISHED, reason: str = "", totals: Totals | None = None) -> None:
        """The run is over; see `LiveStatus.end`."""
        self._status.end(state, reason, totals)
        _log.info("%s%s", state, f": {reason}" if reason else "")


def redactor(tracking_uri: str | None) -> Callable[[str], str]:
    """Takes out of a text the credentials of the tracking server, and what the environment holds under a name that speaks of a secret."""
    uris = (tracking_uri, os.environ.get("MLFLOW_TRACKING_URI"))
    secrets = tuple(
        value for name, value in os.environ.items() if _SECRET_NAME.search(name) and len(value) >= 8
    )
    by_form = Redactor(*uris)

    def redact(text: str) -> str:
        text = by_form(text)
        for secret in secrets:
            text = text.replace(secret, "***")
        return text

    return redact


def check_log_file(path: str | Path | None) -> Path | None:
    """The path of ``--log-file``, made with its folder.

    Raises:
        InputError: nothing can be written there.
    """
    if path is None:
        return None
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with Path(path).open("a", encoding="utf-8"):
            pass
    except OSError as error:
        raise InputError(
            f"--log-file {path}: {error.strerror}; name a file in a folder that can be written, e.g. runs/training.log"
        ) from None
    return Path(path).absolute()
