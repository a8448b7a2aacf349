"""The record of a run: its book's answers with what was asked, read from the run's folder. Nothing is locked, changed or sent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from actors.ionq.book_file import Answer, AnswerFiles, AnswerMissingError, BookDamagedError, read_journal
from actors.ionq.book_ledger import Entry, Ledger
from actors.ionq.question import Question, read_question


class RecordedSubmission(NamedTuple):
    """A submission that was answered.

    Attributes:
        entry: what the book says of it.
        question: what was asked. answer: one dict a circuit.
        reserved_at, completed_at: Unix seconds: just before it was sent, and when its answer was on disk.
    """

    entry: Entry
    question: Question
    answer: Answer
    reserved_at: float
    completed_at: float


class Record:
    """What was paid for in a run, at the moment.

    Args:
        folder: the run's folder.

    Attributes:
        folder: as given. spent: micro-dollars, by its book.
        n_lost: answers whose files are absent or altered, as far as `submissions` has been run through; ``qfleet resume`` fetches them
            again. n_untold: answers of which nobody wrote down what was asked (version 0.1.0).

    Raises:
        BookError: there is no book, or it is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.n_lost = self.n_untold = 0
        events = read_journal(folder).events
        ledger = Ledger(str(folder), events, None)
        self._entries, self.spent = ledger.entries, ledger.budget.balance.spent
        self._times: dict[str, dict[str, float]] = {}
        for event in events:
            self._times.setdefault(event["token"], {})[event["event"]] = float(event.get("at", 0.0))

    def submissions(self) -> Iterator[RecordedSubmission]:
        """Every answered submission, in the order in which they were first reserved.

        Raises:
            BookDamagedError: what is said to have been asked is not what qfleet wrote, or does not fit its answer.
        """
        self.n_lost = self.n_untold = 0
        files = AnswerFiles(self.folder)
        for token, entry in self._entries.items():
            if entry.state != "completed" or entry.digest is None:
                continue
            try:
                found = files.read_whole(token, entry.provider_id or "", entry.digest)
            except AnswerMissingError:
                self.n_lost += 1
                continue
            if not found.answer:  # paid in vain
                continue
            if found.question is None:
                self.n_untold += 1
                continue
            times = self._times[token]
            question = _question(files.folder / f"{token}.json", found.question, len(found.answer))
            yield RecordedSubmission(entry, question, found.answer, times["reserved"], times["completed"])


def _question(path: Path, content: dict[str, object], n_answered: int) -> Question:
    try:
        question = read_question(content)
    except (KeyError, TypeError, ValueError) as error:
        problem = f"its question is not what qfleet wrote ({type(error).__name__}: {error})"
        raise BookDamagedError(str(path), 1, problem) from None
    if question.n_circuits != n_answered:
        problem = f"it holds {n_answered} answers for {question.n_circuits} circuits"
        raise BookDamagedError(str(path), 1, problem)
    return question
