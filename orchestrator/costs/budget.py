"""An account with a cap that nobody can overdraw: reserve before a job is sent, commit what it cost, release what never ran.

Amounts are whole micro-dollars. The account knows jobs by their tokens, so that every entry may be repeated: after a crash the entries of
a journal are played into a new account, and what was reserved then is reserved still.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Literal, NamedTuple

from orchestrator.costs.money import usd_text
from orchestrator.errors import BudgetError, ExecutionError


class BudgetEvent(NamedTuple):
    """An entry of the account.

    Attributes:
        kind: what was done.
        token: of the job.
        micro: micro-dollars; of no meaning for a release.
    """

    kind: Literal["reserve", "commit", "release"]
    token: str
    micro: int


class Balance(NamedTuple):
    """The account at one instant, in micro-dollars.

    Attributes:
        cap: None: there is none.
        spent: for jobs that are done.
        reserved: for jobs that are out, or whose outcome is unknown.
    """

    cap: int | None
    spent: int
    reserved: int

    @property
    def left(self) -> int | None:
        """What can still be reserved; None without a cap, never negative."""
        return None if self.cap is None else max(self.cap - self.spent - self.reserved, 0)

    @property
    def overdrawn(self) -> int:
        """By how much the cap is exceeded: only where a job cost more than was reserved for it, or the cap was lowered since."""
        return 0 if self.cap is None else max(self.spent + self.reserved - self.cap, 0)


class Budget:
    """The account of one run. Thread-safe: each method is one step that no other comes between.

    As long as no job costs more than was reserved for it, ``spent + reserved <= cap`` holds at every instant.

    Args:
        cap: micro-dollars; None: no cap.
    """

    def __init__(self, cap: int | None = None) -> None:
        if cap is not None:
            _check_amount(cap)
        self._cap = cap
        self._lock = threading.Lock()
        self._reserved_for: dict[str, int] = {}
        self._spent_for: dict[str, int] = {}
        self._reserved = self._spent = 0

    @classmethod
    def restored(cls, cap: int | None, events: Iterable[BudgetEvent]) -> Budget:
        """The account after `events`, in order. What happened is not refused, even if `cap` is lower than it was.

        Raises:
            ExecutionError: the events cannot all have happened.
        """
        account = cls(cap)
        for event in events:
            if event.kind == "reserve":
                account._reserve(event.token, event.micro, is_past=True)
            elif event.kind == "commit":
                account.commit(event.token, event.micro)
            else:
                account.release(event.token)
        return account

    @property
    def balance(self) -> Balance:
        """All amounts, of one instant."""
        with self._lock:
            return Balance(self._cap, self._spent, self._reserved)

    def reserve(self, token: str, micro: int) -> None:
        """Set `micro` aside for a job that is about to be sent; again for the same job: nothing happens.

        Raises:
            BudgetError: it is not left; nothing is changed.
            ExecutionError: the job is paid already, or another amount is reserved for it.
        """
        self._reserve(token, micro, is_past=False)

    def commit(self, token: str, micro: int) -> None:
        """The job is done and cost `micro`: its reservation ends. Once more with another amount: a correction of the first.

        A job may have cost more than its reservation, or have none left; the money is gone, and it is counted.
        """
        _check_amount(micro)
        with self._lock:
            self._reserved -= self._reserved_for.pop(token, 0)
            self._spent += micro - self._spent_for.get(token, 0)
            self._spent_for[token] = micro

    def release(self, token: str) -> None:
        """The job will cost nothing: it never arrived, or it failed without charge. Without a reservation: nothing happens.

        Raises:
            ExecutionError: the job is paid already.
        """
        with self._lock:
            self._refuse_paid(token)
            self._reserved -= self._reserved_for.pop(token, 0)

    def _reserve(self, token: str, micro: int, *, is_past: bool) -> None:
        _check_amount(micro)
        with self._lock:
            self._refuse_paid(token)
            known = self._reserved_for.get(token)
            if known == micro:
                return
            if known is not None:
                raise ExecutionError(
                    f"budget: {usd_text(known)} are reserved for the job {token}, not {usd_text(micro)}"
                )
            total = self._spent + self._reserved + micro
            if self._cap is not None and total > self._cap and not is_past:
                raise BudgetError(self._cap, self._spent, self._reserved, micro)
            self._reserved_for[token] = micro
            self._reserved += micro

    def _refuse_paid(self, token: str) -> None:
        if token in self._spent_for:
            raise ExecutionError(
                f"budget: the job {token} is paid already, {usd_text(self._spent_for[token])}"
            )


def _check_amount(micro: int) -> None:
    if isinstance(micro, bool) or not isinstance(micro, int) or micro < 0:
        raise ExecutionError(f"budget: {micro!r} is no amount; nearest valid: whole micro-dollars from 0 on")
