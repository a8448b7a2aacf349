"""Money of the estimators: who may spend it, and what is said of it.

A search over parameters, a cross-validation, a prediction: scikit-learn calls `fit` and `predict` where its users do not see it. So
whatever is paid is said, and the cap is one for all that uses a folder.
"""

from __future__ import annotations

import math
import numbers
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestrator.costs.money import in_usd
from pipelines.compose import report_on_stderr
from pipelines.display.formatting import format_usd
from pipelines.frontends.executor import Executor
from pipelines.frontends.scikit.refusals import ParameterError
from pipelines.run_folder import RunFolder
from pipelines.spending import Spending, SpendingNotAllowedError, has_book

_lock = threading.Lock()
_said: dict[str, float] = {}
"""Up to which sum of a folder's book all is said, in dollars."""


def check_consent(executor: Executor, yes_spend_usd: Any) -> None:
    """Refuse to open what costs money where nobody has allowed that, before anything else is looked at.

    Raises:
        ParameterError: `yes_spend_usd` is no number of dollars. SpendingNotAllowedError: circuits cost money, and it is None.
    """
    if yes_spend_usd is None:
        if _pays_itself(executor):
            backend = executor.config.backend
            raise SpendingNotAllowedError(", ".join(backend.targets) or backend.target, None)
        return
    is_number = isinstance(yes_spend_usd, numbers.Real) and not isinstance(yes_spend_usd, bool)
    if not is_number or not 0 < yes_spend_usd < math.inf:
        problem = "a number of dollars above 0, the most that all that uses the folder may cost"
        raise ParameterError("yes_spend_usd", yes_spend_usd, problem)


def check_can_be_done_again(executor: Executor, random_state: Any) -> None:
    """Refuse a paid fit whose circuits would be others when it is done again, after an error or an interrupt.

    Raises:
        ParameterError: circuits cost money, and `random_state` is no int: a generator draws another seed the next time.
    """
    if executor.capabilities.is_paid and not isinstance(random_state, numbers.Integral):
        problem = (
            "circuits cost money there: give an int, so that a fit that was interrupted is served what it has paid for, "
            "and not paid again"
        )
        raise ParameterError("random_state", random_state, problem, "0")


def booked(folder: str | Path, cap: float | None) -> Spending | None:
    """What the book in `folder` says now, whoever holds it; None where there is none.

    Raises:
        BookError: it cannot be read.
    """
    run_folder = RunFolder(Path(folder).absolute())
    if not has_book(run_folder):
        return None
    from actors.ionq.book_file import JOURNAL, read_journal
    from actors.ionq.book_ledger import Ledger

    ledger = Ledger(str(run_folder.path / JOURNAL), read_journal(run_folder.path).events, None)
    states = [entry.state for entry in ledger.entries.values()]
    balance = ledger.budget.balance
    n_under_way = states.count("reserved") + states.count("submitted")
    return Spending(in_usd(balance.spent), in_usd(balance.reserved), 0.0, cap, n_under_way)


@contextmanager
def said(what: str, executor: Executor, folder: str | Path | None, cap: float | None) -> Iterator[None]:
    """Say on stderr what is paid while the block runs, however it ends; nothing where nothing is."""
    if folder is None or not _pays_itself(executor):
        yield
        return
    name = str(Path(folder).absolute())
    before = _committed(booked(folder, cap))
    with _lock:
        _said[name] = min(_said.get(name, before), before)  # less than was said, where a job came to nothing
    try:
        yield
    finally:
        after = booked(folder, cap)
        paid = _not_said_yet(name, _committed(after))
        if after is not None and paid > 0:
            held = f", {format_usd(after.reserved)} of it held for jobs under way" if after.reserved else ""
            of = "" if cap is None else f" of {format_usd(cap)}"
            report_on_stderr(
                f"{what}: {format_usd(paid)} paid; {format_usd(_committed(after))}{of} in all{held} ({folder})"
            )


def _not_said_yet(folder: str, after: float) -> float:
    """Of what the book has come to; where threads pay at once, each dollar is said once."""
    with _lock:
        since = _said[folder]
        _said[folder] = max(since, after)
    return round(after - since, 6)


def _pays_itself(executor: Executor) -> bool:
    """Whether circuits cost money by a book of one's own; a named fleet has one of its own, and its cap."""
    return executor.capabilities.is_paid and not executor.config.fleet.is_shared


def _committed(spending: Spending | None) -> float:
    return 0.0 if spending is None else round(spending.spent + spending.reserved, 6)
