"""The connection to Ray: a SIGTERM handler that the program has set keeps working. And the threads that an actor may use."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

import pytest
import ray

from actors.ray_fleet import connection
from actors.ray_fleet.process import THREAD_VARIABLES, n_threads_for, thread_options


def _exits(number: int, frame: FrameType | None) -> None:
    sys.exit(number)


@pytest.mark.parametrize("is_starting", [True, False])
def test_sigterm_stays_with_the_program(is_starting: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**options: object) -> None:
        signal.signal(signal.SIGTERM, _exits)  # as Ray does
        if is_starting:
            os.kill(os.getpid(), signal.SIGTERM)

    def handler(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    def work() -> None:
        connection._init_ray("local")
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(ray, "init", init)
    before = signal.signal(signal.SIGTERM, handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            work()
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(("cpus", "expected"), [(0.25, 1), (1.0, 1), (1.9, 1), (4.0, 4)])
def test_threads_of_an_actor_are_its_share(cpus: float, expected: int) -> None:
    assert n_threads_for(cpus) == expected


def test_thread_variables_that_are_inherited_are_overridden(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert thread_options(2) == {}, "Ray sets them itself"
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert thread_options(2) == {}
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "16")
    assert thread_options(2) == {"runtime_env": {"env_vars": dict.fromkeys(THREAD_VARIABLES, "2")}}
