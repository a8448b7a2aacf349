"""The account: never overdrawn, whatever the order and however many threads; and the same after a crash."""

from __future__ import annotations

import contextlib
import pickle
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from orchestrator.costs.budget import Balance, Budget, BudgetEvent
from orchestrator.errors import BudgetError, ExecutionError


def test_reserve_commit_release() -> None:
    account = Budget(100)
    account.reserve("a", 60)
    account.reserve("a", 60)  # again: nothing happens
    assert account.balance == Balance(100, 0, 60)
    with pytest.raises(BudgetError) as caught:
        account.reserve("b", 41)
    assert (caught.value.cap, caught.value.spent, caught.value.reserved, caught.value.asked) == (
        100,
        0,
        60,
        41,
    )
    account.reserve("b", 40)
    account.commit("a", 50)
    assert account.balance == Balance(100, 50, 40)
    assert account.balance.left == 10
    account.release("b")
    account.release("b")
    assert account.balance == Balance(100, 50, 0)
    account.reserve("b", 50)  # released: it may be sent again
    account.commit("b", 50)
    assert account.balance.left == 0
    account.reserve("free", 0)
    account.commit("free", 0)


def test_what_cannot_have_happened_is_refused_and_changes_nothing() -> None:
    account = Budget(100)
    account.reserve("a", 10)
    before = account.balance
    for wrong in (
        lambda: account.reserve("a", 11),
        lambda: account.reserve("b", -1),
        lambda: account.reserve("b", 1.5),  # type: ignore[arg-type]
        lambda: account.reserve("b", True),
        lambda: account.commit("a", -1),
    ):
        with pytest.raises(ExecutionError):
            wrong()
        assert account.balance == before
    account.commit("a", 10)
    for again in (lambda: account.reserve("a", 10), lambda: account.release("a")):
        with pytest.raises(ExecutionError, match="paid already"):
            again()
    with pytest.raises(ExecutionError):
        Budget(-1)


def test_money_that_is_gone_is_counted() -> None:
    account = Budget(100)
    account.reserve("a", 90)
    account.commit("a", 120)  # dearer than reserved
    assert account.balance == Balance(100, 120, 0)
    assert (account.balance.left, account.balance.overdrawn) == (0, 20)
    account.commit("a", 80)  # the provider's own bill corrects it
    assert account.balance == Balance(100, 80, 0)
    account.commit("unknown", 5)
    assert account.balance.spent == 85


def test_without_a_cap_nothing_is_refused() -> None:
    account = Budget()
    account.reserve("a", 10**15)
    assert account.balance == Balance(None, 0, 10**15)
    assert account.balance.left is None
    assert account.balance.overdrawn == 0


def test_error_is_whole_after_pickling_and_says_everything() -> None:
    error = pickle.loads(pickle.dumps(BudgetError(100_000_000, 99_500_000, 400_000, 200_001)))
    assert error.asked == 200_001
    assert str(error) == (
        "a job of $0.200001 would go beyond the cap of $100 (the lower of --yes-spend and budget.max_usd); $99.5 are spent, $0.4 reserved "
        "for jobs in flight, $0.1 left"
    )
    assert "$20 left" in str(BudgetError(1_020_000_000, 0, 1_000_000_000, 30_000_000))


class Model:
    """The account's rules on a plain dictionary: token -> ("reserved" | "spent", amount)."""

    def __init__(self, cap: int) -> None:
        self.cap = cap
        self.entries: dict[str, tuple[str, int]] = {}

    def total(self, kind: str) -> int:
        return sum(amount for k, amount in self.entries.values() if k == kind)

    def reserve(self, token: str, amount: int) -> bool:
        if token in self.entries:
            return self.entries[token] == ("reserved", amount)
        if self.total("reserved") + self.total("spent") + amount > self.cap:
            return False
        self.entries[token] = ("reserved", amount)
        return True

    def commit(self, token: str, amount: int) -> bool:
        self.entries[token] = ("spent", amount)
        return True

    def release(self, token: str, amount: int) -> bool:
        if self.entries.get(token, ("", 0))[0] == "spent":
            return False
        self.entries.pop(token, None)
        return True


@pytest.mark.parametrize("seed", range(20))
def test_any_order_agrees_with_a_plain_model_and_stays_below_the_cap(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cap = int(rng.integers(0, 400))
    account, model = Budget(cap), Model(cap)
    events: list[BudgetEvent] = []
    for _ in range(400):
        token, amount = f"t{rng.integers(25)}", int(rng.integers(0, 60))
        kind = str(rng.choice(["reserve", "commit", "release"], p=[0.5, 0.25, 0.25]))
        if kind == "commit":  # never more than was reserved
            held = model.entries.get(token, ("", 0))
            if held[0] != "reserved":
                continue
            amount = min(amount, held[1])
        try:
            call: Callable[..., Any] = getattr(account, kind)
            call(token, *([] if kind == "release" else [amount]))
            happened = True
            events.append(BudgetEvent(kind, token, amount))  # type: ignore[arg-type]
        except (BudgetError, ExecutionError):
            happened = False
        assert happened == getattr(model, kind)(token, amount)
        balance = account.balance
        assert balance == Balance(cap, model.total("spent"), model.total("reserved"))
        assert balance.spent + balance.reserved <= cap
        assert balance.overdrawn == 0
    assert Budget.restored(cap, events).balance == account.balance


def test_restored_at_any_event_it_goes_on_as_if_nothing_had_happened() -> None:
    """Killed after any event, and that event played once more, as a journal may hold it twice."""
    events = [
        BudgetEvent("reserve", "a", 40), BudgetEvent("reserve", "b", 30), BudgetEvent("commit", "a", 35),
        BudgetEvent("release", "b", 0), BudgetEvent("reserve", "b", 60), BudgetEvent("commit", "b", 60),
    ]  # fmt: skip
    for n in range(len(events) + 1):
        whole, again = Budget.restored(100, events[:n]), Budget.restored(100, [*events[:n]])
        if n and events[n - 1].kind != "release":
            again = Budget.restored(100, [*events[:n], events[n - 1]])
        assert whole.balance == again.balance
        for event in events[n:]:
            assert event.kind == "reserve" or whole.balance.spent + whole.balance.reserved <= 100
            getattr(whole, event.kind)(event.token, *([event.micro] if event.kind != "release" else []))
        assert whole.balance == Balance(100, 95, 0)


def test_a_cap_lowered_since_is_respected_from_now_on() -> None:
    account = Budget.restored(50, [BudgetEvent("reserve", "a", 40), BudgetEvent("reserve", "b", 30)])
    assert account.balance.overdrawn == 20
    with pytest.raises(BudgetError):
        account.reserve("c", 1)
    account.release("a")
    account.reserve("c", 20)


class Slow(int):
    """An amount that is slow to add: other threads come between a check and what follows it, wherever nothing keeps them out."""

    def __radd__(self, other: int) -> int:
        time.sleep(0.001)
        return other + int(self)


def race(account: Budget, n_threads: int = 8) -> int:
    """Threads that each reserve 25 times one micro-dollar; how many they got."""
    got: list[int] = []
    start = threading.Barrier(n_threads)

    def work(number: int) -> None:
        start.wait()
        for k in range(25):
            with contextlib.suppress(BudgetError):
                account.reserve(f"{number}/{k}", Slow(1))
                got.append(1)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(got)


def test_eight_threads_racing_for_the_last_dollars_get_no_more_than_there_is() -> None:
    account = Budget(30)
    assert race(account) == 30
    assert account.balance == Balance(30, 0, 30)


def test_the_race_is_one() -> None:
    """Without the lock the same race overdraws the account: the test above can fail."""
    account = Budget(30)
    account._lock = contextlib.nullcontext()  # type: ignore[assignment]
    assert race(account) > 30
