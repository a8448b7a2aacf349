"""The connection to Ray: a SIGTERM handler that the program has set keeps working."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

import pytest
import ray

from actors.ray_fleet import connection


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
