"""Money a run may spend: the consent, the cap, and the book in which every paid submission is written before it is sent.

A target that costs money needs `--yes-spend USD`, which is the cap unless ``budget.max_usd`` is lower. The book lies in the run's folder,
so that a resumed run pays nothing twice; with Ray it is served by an actor beside the driver.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from actors.mitigation.backend import Mitigated
from orchestrator.config import TrainingConfig
from orchestrator.costs.money import in_usd, micro_down
from orchestrator.errors import ConfigError, InputError
from orchestrator.protocols import Backend
from pipelines.display.formatting import format_usd
from pipelines.run_folder import RunFolder

if TYPE_CHECKING:
    from actors.ionq.book import Book


class SpendingNotAllowedError(InputError):
    """A target costs money and nobody has said that it may.

    Args:
        target: as configured. cap_usd: ``budget.max_usd``.
    """

    def __init__(self, target: str, cap_usd: float | None) -> None:
        super().__init__(target, cap_usd)
        self.target = target
        self.cap_usd = cap_usd

    def __str__(self) -> str:
        example = f"{self.cap_usd:g}" if self.cap_usd is not None else "USD"
        return (
            f"backend.target = {self.target!r} costs money: see how much with `qfleet quote`, then allow it with --yes-spend {example} "
            "(in Python: yes_spend_usd), the most that this run may cost in all"
        )


class Spending(NamedTuple):
    """What a run spends, for displays and records, in dollars.

    Attributes:
        spent, reserved: paid, and set aside for what is under way.
        saved: what answers would have cost that were in the book already.
        cap: None: there is none.
        n_under_way: submissions whose answers are not here yet; they hold what is reserved.
    """

    spent: float
    reserved: float
    saved: float
    cap: float | None
    n_under_way: int = 0

    def held_text(self, how_to_resume: str) -> str | None:
        """What is under way and how to get its answers; None where nothing is."""
        if not self.n_under_way:
            return None
        jobs = "1 job" if self.n_under_way == 1 else f"{self.n_under_way} jobs"
        return f"{format_usd(self.reserved)} held for {jobs} under way, which are paid once and collected by {how_to_resume}"


def check_allowed(config: TrainingConfig, backend: Backend, yes_spend_usd: float | None) -> None:
    """Refuse to send circuits where they may not go, and to spend what nobody has allowed.

    Raises:
        SpendingNotAllowedError: the target costs money, and `yes_spend_usd` is None. InputError: it is not a positive number.
        ConfigError: circuits may not be sent to the backend's host.
    """
    preflight = getattr(backend, "preflight", None)
    if preflight is not None:
        preflight(config.backend.shots)
    if yes_spend_usd is not None and not 0 < yes_spend_usd < float("inf"):
        raise InputError(
            f"--yes-spend {yes_spend_usd:g}: a number of dollars above 0, the most that the run may cost"
        )
    if backend.capabilities.is_paid and config.fleet.is_shared:
        _check_leaves_it_to_the_fleet(config, yes_spend_usd)
        return
    if backend.capabilities.is_paid and yes_spend_usd is None:
        target = ", ".join(config.backend.targets) or config.backend.target
        raise SpendingNotAllowedError(target, config.budget.max_usd)


def _check_leaves_it_to_the_fleet(config: TrainingConfig, yes_spend_usd: float | None) -> None:
    """A named fleet has one book and one cap for all its runs: refuse a run that sets one of its own, which nobody would keep."""
    for key, usd in (("--yes-spend", yes_spend_usd), ("budget.max_usd", config.budget.max_usd)):
        if usd is not None:
            problem = (
                f"the fleet {config.fleet.name!r} was given a cap for all its runs when it was started, and keeps none for one of them: "
                "leave it out, or leave fleet.name out"
            )
            raise ConfigError(key, usd, problem)


def has_book(folder: RunFolder) -> bool:
    """Whether something was, or was about to be, submitted and paid for this run: then its folder must not be lost."""
    return (folder.path / "submissions.jsonl").exists()


def with_book(
    config: TrainingConfig, backend: Backend, folder: RunFolder, yes_spend_usd: float | None, stack: ExitStack
) -> Backend:
    """`backend` with the run's book, which `stack` closes; as it is where nothing costs money.

    Raises:
        SpendingNotAllowedError: see `check_allowed`. BookError: the book cannot be opened.
    """
    if isinstance(backend, Mitigated):
        check_allowed(config, backend, yes_spend_usd)
        inner = with_book(config, backend.inner, folder, yes_spend_usd, stack)
        return Mitigated(inner, backend.mitigation, backend.seed)
    check_allowed(config, backend, yes_spend_usd)
    if not backend.capabilities.is_paid or not hasattr(backend, "book") or config.fleet.is_shared:
        return backend
    caps = [micro_down(usd) for usd in (config.budget.max_usd, yes_spend_usd) if usd is not None]
    changes: dict[str, Any] = {"book": _opened(config, folder, min(caps), stack)}
    return replace(backend, **changes)  # type: ignore[type-var]


def _opened(config: TrainingConfig, folder: RunFolder, cap: int, stack: ExitStack) -> Book:
    if config.fleet.dispatcher == "serial":
        from actors.ionq.book import SubmissionBook

        return stack.enter_context(SubmissionBook(folder.path, cap))
    from actors.ray_fleet.book import BookServer

    return stack.enter_context(BookServer(folder.path, cap, config.fleet.address)).book


def spending_of(backend: Backend) -> Callable[[], Spending] | None:
    """How to ask what the book of `backend` says; None where there is none."""
    book: Book | None = getattr(backend, "book", None)
    if book is None:
        return None

    def read() -> Spending:
        totals = book.totals()
        cap = None if totals.cap is None else in_usd(totals.cap)
        n_under_way = totals.n_reserved + totals.n_submitted
        return Spending(in_usd(totals.spent), in_usd(totals.reserved), in_usd(totals.saved), cap, n_under_way)

    return read
