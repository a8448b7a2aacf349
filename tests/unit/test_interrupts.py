"""Interrupts: at once where that is safe, else between two steps; none is lost."""

from __future__ import annotations

import os
import signal

import pytest

from pipelines.interrupts import Interrupts

NUMBERS = (signal.SIGINT, signal.SIGTERM)


@pytest.mark.parametrize("number", NUMBERS)
def test_at_once_where_it_is_safe(number: signal.Signals) -> None:
    came_late = []

    def work() -> None:
        with Interrupts(lambda: True):
            os.kill(os.getpid(), number)
            came_late.append(number)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert not came_late


@pytest.mark.parametrize("number", NUMBERS)
def test_waits_for_the_check_elsewhere(number: signal.Signals) -> None:
    with Interrupts(lambda: False) as interrupts:
        os.kill(os.getpid(), number)
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
        interrupts.check()  # raised once


@pytest.mark.parametrize("number", NUMBERS)
def test_one_after_the_last_check_is_not_lost(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in NUMBERS]
    with pytest.raises(KeyboardInterrupt), Interrupts(lambda: False):
        os.kill(os.getpid(), number)
    assert [signal.getsignal(each) for each in NUMBERS] == before


def test_an_error_is_not_replaced_by_an_interrupt() -> None:
    def work() -> None:
        with Interrupts(lambda: False):
            os.kill(os.getpid(), signal.SIGINT)
            raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        work()
