"""The submission book: what it admits, what it survives (torn lines, full disks, SIGKILL), and that its cap cannot be raced."""

from __future__ import annotations

import json
import os
import pickle
import random
import resource
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from actors.ionq import book_file
from actors.ionq.book import SubmissionBook
from actors.ionq.book_file import (
    AnswerMissingError,
    BookDamagedError,
    BookError,
    BookInUseError,
    encoded,
)
from actors.ionq.book_ledger import BookStateError
from actors.retry import is_passing
from orchestrator.errors import BudgetError, QfleetError

ANSWER = [{"0": 0.1, "3": 0.9}, {"1": 1 / 3, "2": 2 / 3}]
TOKEN = "0123456789abcdef" * 2


def opened(folder: Path, cap: int | None = None) -> SubmissionBook:
    return SubmissionBook(folder, cap, lock_seconds=0.0)


def complete(book: SubmissionBook, token: str, micro_dollars: int = 7, provider_id: str = "job-1") -> None:
    book.reserve(token, micro_dollars)
    book.submitted(token, provider_id)
    book.completed(token, micro_dollars, ANSWER)


def journal(folder: Path) -> Path:
    return folder / "submissions.jsonl"


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in journal(folder).read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def book(tmp_path: Path) -> Iterator[SubmissionBook]:
    with opened(tmp_path) as made:
        yield made


# What a submission goes through


def test_a_submission_from_intent_to_answer(book: SubmissionBook, tmp_path: Path) -> None:
    assert book.look(TOKEN) is None
    book.reserve(TOKEN, 12_416_600, 97, 1000, "qpu.aria-1")
    entry = book.look(TOKEN)
    assert entry is not None
    assert (entry.state, entry.micro_dollars, entry.provider_id) == ("reserved", 12_416_600, None)
    assert (entry.n_circuits, entry.shots, entry.target) == (97, 1000, "qpu.aria-1")
    assert book.totals()[:2] == (0, 12_416_600)
    book.submitted(TOKEN, "a-b-c")
    book.completed(TOKEN, 12_000_000, ANSWER)
    entry = book.look(TOKEN)
    assert entry is not None
    assert (entry.state, entry.micro_dollars, entry.provider_id) == ("completed", 12_000_000, "a-b-c")
    assert entry.answer == ANSWER
    assert json.loads((tmp_path / "answers" / f"{TOKEN}.json").read_text()) == ANSWER
    assert [line.get("event") for line in lines(tmp_path)] == [None, "reserved", "submitted", "completed"]
    totals = book.totals()
    assert (totals.spent, totals.reserved, totals.saved, totals.n_served) == (12_000_000, 0, 12_000_000, 1)
    assert (totals.n_reserved, totals.n_submitted, totals.n_completed, totals.n_released) == (0, 0, 1, 0)


@pytest.mark.parametrize("is_sent", [False, True])
@pytest.mark.parametrize("reason", ["refused", "failed", "canceled", "absent"])
def test_a_released_submission_costs_nothing_and_may_be_tried_again(
    book: SubmissionBook, is_sent: bool, reason: Any
) -> None:
    book.reserve(TOKEN, 5)
    if is_sent:
        book.submitted(TOKEN, "first")
    book.released(TOKEN, reason)
    entry = book.look(TOKEN)
    assert entry is not None
    assert (entry.state, entry.reason, entry.micro_dollars) == ("released", reason, 0)
    assert book.totals()[:2] == (0, 0)
    complete(book, TOKEN, 3, "second")
    entry = book.look(TOKEN)
    assert entry is not None
    assert (entry.state, entry.provider_id) == ("completed", "second")
    assert book.totals()[:2] == (3, 0)


def test_everything_is_there_again_when_the_book_is_opened_again(tmp_path: Path) -> None:
    with opened(tmp_path, 100) as book:
        complete(book, "a1", 10)
        book.reserve("b2", 20, 3, None, "simulator")
        book.reserve("c3", 30)
        book.submitted("c3", "job-3")
        book.reserve("d4", 40)
        book.released("d4", "refused")
        before = [book.look(token) for token in ("a1", "b2", "c3", "d4")]
        totals = book.totals()
    with opened(tmp_path, 100) as book:
        assert [book.look(token) for token in ("a1", "b2", "c3", "d4")] == before
        assert book.totals() == totals
        assert [entry.token for entry in book.unfinished()] == ["b2", "c3"]
        entry = book.look("a1")
        assert entry is not None
        assert entry.answer == ANSWER
        with pytest.raises(BudgetError):
            book.reserve("e5", 41)
        book.reserve("e5", 40)


def test_a_cap_that_was_lowered_refuses_what_is_new_and_nothing_that_was(tmp_path: Path) -> None:
    with opened(tmp_path, 100) as book:
        complete(book, "a1", 60)
        book.reserve("b2", 40)
    with opened(tmp_path, 50) as book:
        assert book.totals()[:2] == (60, 40)
        with pytest.raises(BudgetError):
            book.reserve("c3", 1)
        book.submitted("b2", "job-2")
        book.completed("b2", 40, ANSWER)
        assert book.totals()[:2] == (100, 0)


def test_what_does_not_fit_is_refused_and_changes_nothing(book: SubmissionBook, tmp_path: Path) -> None:
    complete(book, "d0")
    book.reserve("a0", 1)
    book.reserve("b0", 1)
    book.submitted("b0", "job-b")
    before = journal(tmp_path).read_bytes()
    refused: list[Callable[[], None]] = [
        lambda: book.reserve("a0", 1),
        lambda: book.reserve("b0", 1),
        lambda: book.reserve("d0", 1),
        lambda: book.submitted("ffff", "job"),
        lambda: book.submitted("b0", "another job"),
        lambda: book.completed("a0", 1, ANSWER),
        lambda: book.completed("ffff", 1, ANSWER),
        lambda: book.released("d0", "failed"),
        lambda: book.released("ffff", "failed"),
        lambda: book.released("b0", "because"),  # type: ignore[arg-type]
        lambda: book.reserve("../../etc/passwd", 1),
        lambda: book.reserve("a" * 41, 1),
        lambda: book.reserve("e0", -1),
        lambda: book.reserve("e0", 1.5),  # type: ignore[arg-type]
        lambda: book.reserve("e0", 1, 0),
        lambda: book.reserve("e0", 1, 1, 0),
        lambda: book.submitted("b0", "two\nlines"),
    ]
    for call in refused:
        with pytest.raises(BookStateError):
            call()
    with pytest.raises(BookError, match="list of probabilities"):
        book.completed("b0", 1, [{"0": float("nan")}])
    assert journal(tmp_path).read_bytes() == before
    assert book.totals()[:2] == (7, 2)
    assert {path.stem for path in (tmp_path / "answers").iterdir()} == {"d0"}


def test_telling_the_same_twice_changes_nothing(book: SubmissionBook, tmp_path: Path) -> None:
    complete(book, "a0")
    book.reserve("b0", 3)
    book.released("b0", "absent")
    before = journal(tmp_path).read_bytes()
    book.submitted("a0", "job-1")
    book.completed("a0", 7, ANSWER)
    book.released("b0", "absent")
    assert journal(tmp_path).read_bytes() == before


def test_a_corrected_bill_counts_once(book: SubmissionBook) -> None:
    complete(book, "a0", 7)
    book.completed("a0", 9, ANSWER)
    assert book.totals()[:2] == (9, 0)


def test_an_answer_without_circuits_was_paid_for_and_saves_nothing(book: SubmissionBook) -> None:
    book.reserve("a0", 7)
    book.submitted("a0", "job-1")
    book.completed("a0", 7, [])
    assert book.answer("a0") == []
    assert book.totals()[:3] == (7, 0, 0)


def test_a_closed_book_is_closed(tmp_path: Path) -> None:
    book = opened(tmp_path)
    book.close()
    book.close()
    for call in (lambda: book.look("a0"), lambda: book.reserve("a0", 1)):
        with pytest.raises(BookError, match="closed"):
            call()


# Threads


def test_the_last_dollars_are_raced_for_in_vain(tmp_path: Path) -> None:
    cap, price, n_threads = 1_000, 37, 8
    with opened(tmp_path, cap) as book:
        start = threading.Barrier(n_threads)

        def grab(thread: int) -> list[str]:
            start.wait()
            held = []
            for attempt in range(20):
                token = f"{thread:x}0{attempt:02x}"
                with suppress(BudgetError):
                    book.reserve(token, price)
                    held.append(token)
            return held

        with ThreadPoolExecutor(n_threads) as pool:
            held = [token for tokens in pool.map(grab, range(n_threads)) for token in tokens]
        assert len(held) == cap // price
        assert book.totals().reserved == len(held) * price
    with opened(tmp_path, cap) as book:
        assert sorted(entry.token for entry in book.unfinished()) == sorted(held)


def test_one_of_many_gets_a_token_and_the_others_may_look_again(book: SubmissionBook) -> None:
    start = threading.Barrier(8)

    def grab(_: int) -> QfleetError | None:
        start.wait()
        try:
            book.reserve(TOKEN, 1)
        except QfleetError as error:
            return error
        return None

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(grab, range(8)))
    assert outcomes.count(None) == 1
    refusals = [outcome for outcome in outcomes if outcome is not None]
    assert all(isinstance(error, BookStateError) and is_passing(error) for error in refusals)


def test_events_of_many_threads_share_a_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    n_syncs = 0
    sync = os.fsync

    def slow_sync(descriptor: int) -> None:
        nonlocal n_syncs
        n_syncs += 1
        time.sleep(0.02)
        sync(descriptor)

    with opened(tmp_path) as book:
        monkeypatch.setattr(book_file.os, "fsync", slow_sync)
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda i: book.reserve(f"{i:x}", 1), range(64)))
    # The first alone, then what came during each sync together: 16 callers need 5 rounds, and more where they are late.
    assert n_syncs <= 32
    assert len(lines(tmp_path)) == 65


# Errors that cross process borders


@pytest.mark.parametrize(
    "error",
    [
        BookError("no"),
        BookInUseError("no"),
        BookStateError("no"),
        BookDamagedError("file", 3, "no"),
        AnswerMissingError("aa", "job", "no"),
    ],
)
def test_errors_pickle(error: QfleetError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_only_a_conflict_is_worth_another_try() -> None:
    assert is_passing(BookStateError("")) is True
    assert is_passing(BookError("")) is is_passing(BudgetError(1, 1, 0, 1)) is False


# Damage


def test_a_torn_last_line_is_cut_off_wherever_it_was_torn(tmp_path: Path) -> None:
    with opened(tmp_path) as book:
        book.reserve("a0", 1)
        book.reserve("b0", 2)
    whole = journal(tmp_path).read_bytes()
    last = whole[:-1].rindex(b"\n") + 1
    for length in range(last, len(whole)):
        journal(tmp_path).write_bytes(whole[:length])
        with opened(tmp_path) as book:
            assert [entry.token for entry in book.unfinished()] == ["a0"]
            book.reserve("c0", 3)
        with opened(tmp_path) as book:
            assert [entry.token for entry in book.unfinished()] == ["a0", "c0"]


def test_a_torn_header_is_written_again(tmp_path: Path) -> None:
    with opened(tmp_path):
        pass
    header = journal(tmp_path).read_bytes()
    for length in range(len(header)):
        journal(tmp_path).write_bytes(header[:length])
        with opened(tmp_path) as book:
            assert book.unfinished() == []
            token = book.run_token()
        assert journal(tmp_path).read_bytes().count(b"\n") == 1
        with opened(tmp_path) as book:
            assert book.run_token() == token


def test_a_run_keeps_its_token(tmp_path: Path) -> None:
    """Nobody else's submissions are named alike."""
    tokens = []
    for name in ("one", "other", "one"):
        with opened(tmp_path / name) as book:
            tokens.append(book.run_token())
    assert tokens[0] == tokens[2] != tokens[1]
    assert len(tokens[0]) == 32


def test_a_file_that_is_no_book_is_left_alone(tmp_path: Path) -> None:
    journal(tmp_path).write_bytes(b"something else")
    with pytest.raises(BookDamagedError, match="not the first line of a submission book"):
        opened(tmp_path)
    assert journal(tmp_path).read_bytes() == b"something else"


def test_a_single_flipped_bit_in_the_middle_is_told_with_its_place(tmp_path: Path) -> None:
    with opened(tmp_path) as book:
        for i in range(4):
            book.reserve(f"{i:x}", 1)
    whole = journal(tmp_path).read_bytes()
    ends = [place for place, byte in enumerate(whole) if byte == ord("\n")]
    rng = random.Random(1)
    for _ in range(100):
        place = rng.randrange(ends[-1])
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.randrange(8)
        journal(tmp_path).write_bytes(damaged)
        with pytest.raises(BookDamagedError) as caught:
            opened(tmp_path)
        assert caught.value.line == 1 + sum(end < place for end in ends)
        assert str(journal(tmp_path)) in str(caught.value)


def test_events_that_cannot_have_happened_are_damage(tmp_path: Path) -> None:
    with opened(tmp_path) as book:
        book.reserve("a0", 1)
    with journal(tmp_path).open("ab") as file:
        file.write(encoded({"event": "submitted", "token": "b0", "provider_id": "x"}))
    with pytest.raises(BookDamagedError, match="line 3: submission b0 is unknown"):
        opened(tmp_path)


def test_a_book_of_a_later_format_is_refused(tmp_path: Path) -> None:
    journal(tmp_path).write_bytes(encoded({"qfleet_submissions": 2}))
    with pytest.raises(BookError, match="has format 2; this version of qfleet reads 1"):
        opened(tmp_path)


@pytest.mark.parametrize("loss", ["absent", "altered"])
def test_a_lost_answer_is_told_with_the_job_that_has_it(tmp_path: Path, loss: str) -> None:
    with opened(tmp_path) as book:
        complete(book, TOKEN, 7, "job-77")
    path = tmp_path / "answers" / f"{TOKEN}.json"
    if loss == "absent":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes().replace(b"0.9", b"0.8"))
    with opened(tmp_path) as book:
        entry = book.look(TOKEN)
        assert entry is not None
        with pytest.raises(AnswerMissingError) as caught:
            _ = entry.answer
        assert caught.value.provider_id == "job-77"
        assert book.totals().n_served == 0
        book.completed(TOKEN, 7, ANSWER)  # fetched again
        assert entry.answer == ANSWER
        assert book.totals().spent == 7


def test_an_answer_without_its_line_is_no_answer(tmp_path: Path) -> None:
    with opened(tmp_path) as book:
        book.reserve(TOKEN, 7)
        book.submitted(TOKEN, "job-1")
    folder = tmp_path / "answers"
    folder.mkdir()
    (folder / f"{TOKEN}.json").write_text("[]")
    (folder / f".{TOKEN}.json.1.2").write_text("[")
    with opened(tmp_path) as book:
        entry = book.look(TOKEN)
        assert entry is not None
        assert entry.state == "submitted"
        assert not list(folder.glob(".*"))
        book.completed(TOKEN, 7, ANSWER)
        entry = book.look(TOKEN)
        assert entry is not None
        assert entry.answer == ANSWER


# Disks that refuse


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes: the disk is full, and a write is done in part."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_gives_out_no_reservation(tmp_path: Path) -> None:
    book = opened(tmp_path)
    book.reserve("a0", 1)
    before = journal(tmp_path).read_bytes()
    with files_of_at_most(len(before) + 10), pytest.raises(BookError, match=r"make room, then resume"):
        book.reserve("b0", 2)
    assert journal(tmp_path).read_bytes() == before
    # What is in memory may be ahead of the disk now, so nothing more is admitted.
    for call in (lambda: book.reserve("c0", 3), lambda: book.look("a0")):
        with pytest.raises(BookError, match="make room"):
            call()
    book.close()
    with opened(tmp_path) as book:
        assert [entry.token for entry in book.unfinished()] == ["a0"]
        assert book.totals().reserved == 1
        book.reserve("b0", 2)


def test_a_full_disk_records_no_answer_in_part(tmp_path: Path) -> None:
    with opened(tmp_path) as book:
        book.reserve(TOKEN, 7)
        book.submitted(TOKEN, "job-1")
        with files_of_at_most(20), pytest.raises(BookError, match="The provider keeps it"):
            book.completed(TOKEN, 7, ANSWER)
        assert not list((tmp_path / "answers").iterdir())
        entry = book.look(TOKEN)
        assert entry is not None
        assert entry.state == "submitted"
        book.completed(TOKEN, 7, ANSWER)


def test_a_disk_that_fails_to_sync_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = opened(tmp_path)

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(book_file.os, "fsync", fail)
        with pytest.raises(BookError, match="Input/output error"):
            book.reserve("a0", 1)
    with pytest.raises(BookError):
        book.reserve("b0", 1)
    book.close()


def test_a_folder_that_cannot_be_written_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BookError, match="cannot be opened"):
        opened(tmp_path / "file")


# Other processes


def test_a_book_is_held_by_one(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(BookInUseError, match="held by another"):
        opened(tmp_path)
    opened(tmp_path).close()


def test_a_writer_that_is_about_to_end_is_waited_for(tmp_path: Path) -> None:
    book = opened(tmp_path)
    timer = threading.Timer(0.2, book.close)
    timer.start()
    SubmissionBook(tmp_path, lock_seconds=20.0).close()
    timer.join()


WRITER = """
import json, os, sys, threading, time
from pathlib import Path
from actors.ionq.book import SubmissionBook
from actors.ionq.book_file import BookFile

append = BookFile.append

def slow_append(self, events):  # a slow disk: time to be killed in, before and after
    time.sleep(0.003)
    append(self, events)
    time.sleep(0.003)

BookFile.append = slow_append
folder, round_number = Path(sys.argv[1]), int(sys.argv[2])
book = SubmissionBook(folder, 10**9)

def tell(*what):
    os.write(1, (json.dumps(what) + "\\n").encode())

def work(thread):
    for i in range(10**6):
        token = f"{round_number:02x}{thread:02x}{i:06x}"
        book.reserve(token, 1000 + i)
        tell(token, "reserved", 1000 + i)
        if i % 5 == 4:
            book.released(token, "absent")
            tell(token, "released", 0)
            continue
        book.submitted(token, f"job-{token}")
        tell(token, "submitted", 1000 + i)
        book.completed(token, 900 + i, [{str(i): 1.0}])
        tell(token, "completed", 900 + i)

tell("ready")
for thread in range(4):
    threading.Thread(target=work, args=(thread,)).start()
"""
ORDER = ("reserved", "submitted", "completed", "released")


def test_sigkill_at_any_moment_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    rng = random.Random(7)
    acknowledged: dict[str, tuple[str, int]] = {}
    for round_number in range(20):
        command = [sys.executable, "-c", WRITER, str(tmp_path), str(round_number)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            assert json.loads(writer.stdout.readline()) == ["ready"]
            threading.Timer(rng.uniform(0.0, 0.2), writer.kill).start()
            told = writer.stdout.read()
        for line in told.splitlines(keepends=True):
            if line.endswith(b"\n"):
                token, state, micro_dollars = json.loads(line)
                acknowledged[token] = state, micro_dollars
        with SubmissionBook(tmp_path, 10**9) as book:
            check_consistent(book, acknowledged)
    assert len(acknowledged) > 100


def check_consistent(book: SubmissionBook, acknowledged: dict[str, tuple[str, int]]) -> None:
    """Every acknowledged event is there, or one that followed it; the money is that of the entries."""
    spent = reserved = 0
    entries = dict(book._ledger.entries)
    for token, (state, micro_dollars) in acknowledged.items():
        entry = book.look(token)
        assert entry is not None, token
        assert ORDER.index(entry.state) >= ORDER.index(state)
        if entry.state == state:
            assert entry.micro_dollars == micro_dollars
        if state in ("submitted", "completed"):
            assert entry.provider_id == f"job-{token}"
    for entry in entries.values():
        spent += entry.micro_dollars if entry.state == "completed" else 0
        reserved += entry.micro_dollars if entry.state in ("reserved", "submitted") else 0
        if entry.state == "completed":
            assert book.answer(entry.token) == [{str(int(entry.token[4:], 16)): 1.0}]
    assert book.totals()[:2] == (spent, reserved)
    assert {token for token in entries if token not in acknowledged} <= {
        entry.token for entry in entries.values() if entry.state == "reserved"
    }, "only a first event may be there that was not acknowledged in time"


AFTER: dict[tuple[str | None, str], str] = {
    (None, "reserve"): "reserved",
    ("released", "reserve"): "reserved",
    ("reserved", "submit"): "submitted",
    ("submitted", "submit"): "submitted",
    ("completed", "submit"): "completed",
    ("submitted", "complete"): "completed",
    ("completed", "complete"): "completed",
    ("reserved", "release"): "released",
    ("submitted", "release"): "released",
    ("released", "release"): "released",
}
"""State and event -> the state after it; every other pair is refused."""


def tell(book: SubmissionBook, event: str, token: str, price: int) -> None:
    if event == "reserve":
        book.reserve(token, price)
    elif event == "submit":
        book.submitted(token, f"job-{token}")
    elif event == "complete":
        book.completed(token, price, ANSWER)
    else:
        book.released(token, "failed")


@pytest.mark.parametrize("seed", range(5))
def test_any_sequence_of_events_agrees_with_the_table_and_with_a_book_opened_again(
    seed: int, tmp_path: Path
) -> None:
    rng = random.Random(seed)
    tokens, cap = "0123456789abcdef", 50
    states: dict[str, str] = {}
    money = dict.fromkeys(tokens, 0)
    refused: Counter[type[QfleetError]] = Counter()
    book = opened(tmp_path, cap)
    for _ in range(300):
        token, event = rng.choice(tokens), rng.choice(["reserve", "submit", "complete", "release"])
        # A submission never costs more than was reserved for it, or the cap would not hold.
        price = rng.randrange(30) if event == "reserve" else rng.randrange(money[token] + 1)
        after = AFTER.get((states.get(token), event))
        error = (
            BookStateError
            if after is None
            else BudgetError
            if event == "reserve" and sum(money.values()) + price > cap
            else None
        )
        if error is not None:
            refused[error] += 1
            with pytest.raises(error):
                tell(book, event, token, price)
        else:
            assert after is not None
            tell(book, event, token, price)
            states[token] = after
            money[token] = {"submit": money[token], "release": 0}.get(event, price)
        if rng.random() < 0.05:
            book.close()
            book = opened(tmp_path, cap)
        found = {each: entry for each in tokens if (entry := book.look(each))}
        assert {each: entry.state for each, entry in found.items()} == states
        assert all(entry.micro_dollars == money[each] for each, entry in found.items())
        totals = book.totals()
        assert totals.spent + totals.reserved == sum(money.values()) <= cap
    book.close()
    assert min(refused[BookStateError], refused[BudgetError]) > 0
