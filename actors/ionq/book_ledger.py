"""What a submission book says: the submissions of a run, the state of each, and the money. Events in, state out; no file, no thread.

::

    reserved ──► submitted ──► completed
      ▲  │           │
      │  └─────┬─────┘
      │        ▼
      └──── released

The same rules read an old book and admit a new event, so a book that was written can be read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, get_args

from actors.ionq.book_file import Answer, BookDamagedError, BookError
from orchestrator.costs.budget import Budget, BudgetEvent
from orchestrator.errors import ExecutionError

State = Literal["reserved", "submitted", "completed", "released"]
Reason = Literal["refused", "failed", "canceled", "absent"]
REASONS: tuple[Reason, ...] = get_args(Reason)

_TOKEN = re.compile(r"[0-9a-f]{1,40}")
_PRINTABLE = re.compile(r"[\x21-\x7e]{1,200}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class BookStateError(BookError, ExecutionError):
    """An event does not fit what the book says of its submission, because another worker was quicker.

    Its job may be tried again: that begins by looking the submission up.
    """


@dataclass(frozen=True)
class Entry:
    """What the book says of one submission.

    Attributes:
        token: its name, up to 40 hexadecimal digits.
        state: reserved (money is set aside, it may or may not have been sent), submitted (the provider has it), completed (its answer is
            in the book), released (it came to nothing and cost nothing; it may be reserved again).
        micro_dollars: what is set aside for it, or what it cost once it is completed; 0 if released. 1e-6 US dollars.
        n_circuits, shots, target: what was to be run; shots and target None if they were not told.
        provider_id: the provider's name of the job, once it is known.
        reason: why it was released.
        digest: of its answer file.
        load: reads its answer; given by the book, not part of what it says.
    """

    token: str
    state: State
    micro_dollars: int
    n_circuits: int
    shots: int | None
    target: str | None
    provider_id: str | None = None
    reason: Reason | None = None
    digest: str | None = None
    load: Callable[[str], Answer] | None = field(default=None, repr=False, compare=False)

    @property
    def answer(self) -> Answer:
        """The recorded answer, read from disk now: outcome -> probability, one dict a circuit.

        Raises:
            AnswerMissingError: its file is lost: fetch it from the provider; BookStateError: it has no answer yet.
        """
        if self.state != "completed" or self.load is None:
            raise BookStateError(f"submission {self.token} is {self.state}: it has no answer in the book")
        return self.load(self.token)


class BookTotals(NamedTuple):
    """Figures of a book for display; money in 1e-6 US dollars.

    Attributes:
        spent, reserved: paid for completed submissions, and set aside for those under way.
        saved: what answers would have cost that were served from the book since it was opened.
        cap: the most that spent and reserved together may come to; None: no limit.
        n_reserved, n_submitted, n_completed, n_released: submissions in each state.
        n_served: answers served from the book since it was opened.
    """

    spent: int
    reserved: int
    saved: int
    cap: int | None
    n_reserved: int
    n_submitted: int
    n_completed: int
    n_released: int
    n_served: int


class Ledger:
    """The submissions of a book and their money. Not for several threads at once.

    Args:
        path: of the journal, for errors.
        past: its events, from its second line on.
        cap: micro-dollars that what is spent and reserved together may come to; None: no limit. It may be lower than it was.

    Attributes:
        entries: by token, in the order in which they were first reserved.
        budget: the account.

    Raises:
        BookDamagedError: the events do not fit together.
    """

    def __init__(self, path: str, past: Iterable[Mapping[str, Any]], cap: int | None) -> None:
        self.entries: dict[str, Entry] = {}
        money = []
        for line, event in enumerate(past, start=2):
            try:
                entry = self._after(event)
            except BookStateError as error:
                raise BookDamagedError(path, line, str(error)) from None
            self.entries[entry.token] = entry
            money.append(BudgetEvent(_ACCOUNTED[entry.state], entry.token, entry.micro_dollars))
        self.budget = Budget.restored(cap, money)

    def apply(self, event: Mapping[str, Any]) -> bool:
        """Take in an event; False if it says nothing new.

        Raises:
            BookStateError: it does not fit; BudgetError: it would exceed the cap. Nothing has changed then.
        """
        entry = self._after(event)
        if entry == self.entries.get(entry.token):
            return False
        match entry.state:
            case "reserved":
                self.budget.reserve(entry.token, entry.micro_dollars)
            case "completed":
                self.budget.commit(entry.token, entry.micro_dollars)
            case "released":
                self.budget.release(entry.token)
        self.entries[entry.token] = entry
        return True

    def _after(self, event: Mapping[str, Any]) -> Entry:
        """What `event` makes of its entry."""
        kind = event.get("event")
        change = _CHANGES.get(kind) if isinstance(kind, str) else None
        if change is None:
            raise BookStateError(f"event {kind!r} is unknown; known: {', '.join(_CHANGES)}")
        token = _text(event, "token", _TOKEN, "1 to 40 hexadecimal digits in lower case")
        return change(token, self.entries.get(token), event)


def _reserved(token: str, known: Entry | None, event: Mapping[str, Any]) -> Entry:
    if known is not None and known.state != "released":
        raise BookStateError(
            f"submission {token} is {known.state} already: look it up, and reserve only what is unknown or released"
        )
    shots = event.get("shots")
    target = event.get("target")
    return Entry(
        token,
        "reserved",
        _number(event, "micro_dollars", 0),
        _number(event, "n_circuits", 1),
        None if shots is None else _number(event, "shots", 1),
        None
        if target is None
        else _text(event, "target", _PRINTABLE, "1 to 200 printable characters without spaces"),
    )


def _submitted(token: str, known: Entry | None, event: Mapping[str, Any]) -> Entry:
    provider_id = _text(event, "provider_id", _PRINTABLE, "1 to 200 printable characters without spaces")
    entry = _in_state(token, known, "submitted", ("reserved", "submitted", "completed"))
    if entry.state == "reserved":
        return replace(entry, state="submitted", provider_id=provider_id)
    if entry.provider_id != provider_id:
        raise BookStateError(
            f"submission {token} is job {entry.provider_id} at the provider already, and now job {provider_id} as well: "
            "one of them is a duplicate; cancel it there"
        )
    return entry


def _completed(token: str, known: Entry | None, event: Mapping[str, Any]) -> Entry:
    """A second time, the newer answer and the newer price hold: a lost answer was fetched again, a bill was corrected."""
    entry = _in_state(token, known, "completed", ("submitted", "completed"))
    digest = _text(event, "digest", _DIGEST, "64 hexadecimal digits")
    return replace(entry, state="completed", micro_dollars=_number(event, "micro_dollars", 0), digest=digest)


def _released(token: str, known: Entry | None, event: Mapping[str, Any]) -> Entry:
    reason = event.get("reason")
    if reason not in REASONS:
        raise BookStateError(f"reason = {reason!r} is none; valid: {', '.join(REASONS)}")
    entry = _in_state(token, known, "released", ("reserved", "submitted", "released"))
    return (
        entry
        if entry.state == "released"
        else replace(entry, state="released", micro_dollars=0, reason=reason)
    )


_Change = Callable[[str, Entry | None, Mapping[str, Any]], Entry]
_CHANGES: dict[str, _Change] = {
    "reserved": _reserved,
    "submitted": _submitted,
    "completed": _completed,
    "released": _released,
}
_ACCOUNTED: dict[State, Literal["reserve", "commit", "release"]] = {
    "reserved": "reserve",
    "submitted": "reserve",  # once more, which changes nothing
    "completed": "commit",
    "released": "release",
}


def _in_state(token: str, known: Entry | None, wanted: State, before: tuple[State, ...]) -> Entry:
    if known is None or known.state not in before:
        state = "unknown" if known is None else known.state
        raise BookStateError(
            f"submission {token} is {state} and cannot become {wanted}: it must be {' or '.join(before)}"
        )
    return known


def _text(event: Mapping[str, Any], key: str, pattern: re.Pattern[str], what: str) -> str:
    value = event.get(key)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise BookStateError(f"{key} = {value!r}: {what} are wanted")
    return value


def _number(event: Mapping[str, Any], key: str, least: int) -> int:
    value = event.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise BookStateError(f"{key} = {value!r}: a whole number from {least} on is wanted")
    return value
