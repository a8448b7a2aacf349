"""Submission books written by released versions stay readable: what was paid for then is never paid for again.

``book-1`` was written by version 0.1.0 and holds every event; ``book-2`` has answers with their questions. A change of format
adds a folder here and touches none.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from actors.ionq.book import SubmissionBook
from actors.ionq.question import places_of
from actors.ionq.record import Record
from actors.ionq.recorded_circuits import content_keys

GOLDEN = Path(__file__).parent
BOOKS = sorted(path.name for path in GOLDEN.glob("book-*"))


@pytest.mark.parametrize("tail", [b"", b'{"event":"reserved","token":"ff66","micro_dol'])
@pytest.mark.parametrize("name", BOOKS)
def test_an_old_book_is_read_and_goes_on(name: str, tail: bytes, tmp_path: Path) -> None:
    folder = tmp_path / name
    shutil.copytree(GOLDEN / name, folder)
    with (folder / "submissions.jsonl").open("ab") as file:
        file.write(tail)
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    with SubmissionBook(folder) as book:
        assert book.run_token() == expected["run_token"]
        for token, fields in expected["entries"].items():
            entry = book.look(token)
            assert entry is not None
            assert {key: getattr(entry, key) for key in fields} == fields
        for token, answer in expected["answers"].items():
            assert book.answer(token) == answer
        totals = book.totals()
        assert (totals.spent, totals.reserved) == (expected["spent"], expected["reserved"])
        assert [entry.token for entry in book.unfinished()] == expected["unfinished"]
        assert book.look("ff66") is None
        book.reserve("ff66", 5)
    with SubmissionBook(folder) as book:
        assert book.totals().reserved == expected["reserved"] + 5


@pytest.mark.parametrize("name", BOOKS)
def test_an_old_record_is_read(name: str) -> None:
    """Every circuit with its content key, its angles to the bit, and its place in the run; of version 0.1.0 answers alone are known."""
    expected = json.loads((GOLDEN / name / "expected.json").read_text(encoding="utf-8"))
    record = Record(GOLDEN / name)
    found = []
    for submission in record.submissions():
        question, where = submission.question, places_of(submission.question)
        for i, group in enumerate(where.groups):
            angles = where.angles[i : i + 1]
            key = content_keys(question.structure, question.bases[group], question.source, angles)[0]
            found.append(
                {
                    "key": key.hex(),
                    "basis": question.bases[group],
                    "angles": angles[0].tolist(),
                    "step": question.job.step,
                    "sample": int(where.samples[i]),
                    "displacement": int(where.displacements[i]),
                    "noise_key": int(question.job.noise_keys[group]),
                    "shots": question.job.shots,
                }
            )
    assert found == expected.get("circuits", [])
    assert record.n_lost == 0
    assert record.n_untold == (0 if found else len(expected["answers"]))
    assert record.spent == expected["spent"]
