"""The ``qfleet`` command in a process of its own that begins at once, since it is forked from one with the heavy modules imported.

Such a process differs from a new one in what happens before the command's first line: imports, environment variables that modules
read as they are imported, and the seed of str's hash, which all of them share. A test of any of these starts a new interpreter.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Self

MODULES = [
    "pipelines.cli",
    "pipelines.trainer",
    "pipelines.plots",
    "actors.ray_fleet",
    "actors.ionq.session",
    "alembic.command",
    "bokeh.embed",
    "bokeh.plotting",
    "cirq_ionq",
    "mlflow.pyfunc",
    "mlflow.store.tracking.sqlalchemy_store",
    "numba",
    "rich.progress",
    "sklearn.datasets",
    "sklearn.preprocessing",
]
"""What the process that is forked has imported. It has one server in a test session, so whoever forks asks for the same."""


def forking() -> multiprocessing.context.ForkServerContext:
    """How processes are started that have `MODULES` imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(MODULES)
    return context


def run_command(
    folder: Path,
    *arguments: str,
    expect: int = 0,
    environment: Mapping[str, str] | None = None,
    timeout: float = 240.0,
) -> subprocess.CompletedProcess[str]:
    """``qfleet arguments`` in `folder`, to its end, which must be exit code `expect`.

    Args:
        environment: added to that of this process.
        timeout: in seconds; then it is killed, and subprocess.TimeoutExpired raised.
    """
    with start_command(folder, *arguments, environment=environment) as command:
        output, errors = command.communicate(timeout)
    assert command.returncode == expect, errors[-3000:]
    return subprocess.CompletedProcess(command.args, expect, output, errors)


def start_command(folder: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> Command:
    """``qfleet arguments``, started in `folder`; `environment` is added to that of this process."""
    return Command(folder, arguments, environment or {})


class Command:
    """A process of the command, in the process group of this one, with nothing on its stdin.

    Named as in subprocess.Popen, except that what it prints is read at once: a full pipe never stops it.

    Args:
        folder: where it runs.
        arguments: after ``qfleet``.
        environment: added to that of this process.
        before: called in the process, before the command; of a module.
    """

    def __init__(
        self,
        folder: Path,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        before: Callable[[], None] | None = None,
    ) -> None:
        self.args = ["qfleet", *arguments]
        context = forking()
        self._output, self._errors = bytearray(), bytearray()
        self._readers, ends = [], []
        for text in (self._output, self._errors):
            ours, theirs = context.Pipe(duplex=False)
            ends.append(theirs)
            self._readers.append(threading.Thread(target=_read, args=(ours, text), daemon=True))
        self._process = context.Process(
            target=_become, args=(folder, arguments, {**os.environ, **environment}, before, *ends)
        )
        self._process.start()
        for end in ends:
            end.close()
        for reader in self._readers:
            reader.start()
        assert self._process.pid is not None
        self.pid = self._process.pid
        atexit.register(
            self.kill
        )  # a test that fails may leave it running, and multiprocessing would wait for it

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self.wait()

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self._output.decode()

    @property
    def errors(self) -> str:
        """What it has printed on stderr so far."""
        return self._errors.decode()

    @property
    def returncode(self) -> int | None:
        """Its exit code; the negative number of the signal that killed it; None as long as it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The same."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0, self.output, self.errors)
        return self._process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """All that it prints on stdout and stderr, once it, and whoever has these from it, has ended."""
        self.wait(timeout)
        self.read(timeout)
        if any(reader.is_alive() for reader in self._readers):
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0, self.output, self.errors)
        return self.output, self.errors

    def read(self, timeout: float | None) -> None:
        """Wait for the end of what it prints, for so many seconds at most."""
        for reader in self._readers:
            reader.join(timeout)

    def send_signal(self, number: int) -> None:
        """Send a signal, if it has not ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


def _read(end: Connection, into: bytearray) -> None:
    with end:
        while data := os.read(end.fileno(), 1 << 16):
            into += data


def _become(
    folder: Path,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    before: Callable[[], None] | None,
    out: Connection,
    err: Connection,
) -> None:
    """In the process: be ``python -m pipelines.cli arguments``, and end as an interpreter does, exit handlers and all."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, end in enumerate((out, err), start=1):
        os.dup2(end.fileno(), number)
        end.close()
    sys.stdout.reconfigure(line_buffering=False)  # type: ignore[union-attr]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from pipelines import cli

    sys.argv = [cli.__file__, *arguments]
    if before is not None:
        before()
    try:
        code = cli.main(arguments)
    except SystemExit as ended:  # argparse's
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(code)
