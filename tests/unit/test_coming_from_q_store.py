"""docs/coming-from-q-store: every snippet, name and promise of the five documents has its place there, and every block of ours runs.

`q_store_documents.tsv` says what the documents hold; they are not part of this repository.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.documents import code_blocks, run_blocks
from tests.q_store_pages import INDEX, OVER_HTTP, PAGES, ROOT, entries, run_page

DOCUMENTS = ROOT.parent / "shared" / "seeds"


class Item(NamedTuple):
    kind: str
    place: str
    text: str


def items(kind: str) -> list[Item]:
    lines = Path(__file__).with_name("q_store_documents.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    return [Item(row[0], row[1], row[-1]) for row in rows if row[0] == kind]


def table(heading: str) -> list[list[str]]:
    """The cells of the table below a heading of the index page."""
    _, _, below = INDEX.read_text(encoding="utf-8").partition(f"\n## {heading}\n")
    rows = [line for line in below.partition("\n## ")[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def test_every_snippet_has_one_entry_and_code_that_runs() -> None:
    by_place: dict[str, list[str]] = {}
    for page in (INDEX, *PAGES):
        for entry in entries(page):
            assert entry.runs, f"{page.name}, {entry.heading!r}: nothing of ours to run"
            for place in entry.places:
                by_place.setdefault(place, []).append(f"{page.name}, {entry.heading!r}")
    snippets = items("snippet")
    assert len(snippets) == 65
    for snippet in snippets:
        found = by_place.get(snippet.place, [])
        assert len(found) == 1, f"{snippet.place} ({snippet.text}): {found or 'no entry'}"


def test_every_name_is_translated() -> None:
    known = {name for row in table("Names: theirs and ours") for name in re.findall(r"`([^`]+)`", row[0])}
    names = {item.text for item in items("name")}
    assert len(names) > 100
    assert names - known == set()
    assert known - names == set(), "in the table, and not in the documents' index"


def test_every_promise_is_answered() -> None:
    answered = {place for row in table("What is promised there") for place in re.findall(r"\d:\d+", row[1])}
    assert {item.place for item in items("promise")} - answered == set()


def test_the_index_of_the_documents_is_complete() -> None:
    if not DOCUMENTS.is_dir():
        pytest.skip("the documents are not here")
    held = {item.place: item.text for item in items("snippet")}
    for path in DOCUMENTS.glob("*.txt"):
        for block in code_blocks(path):
            place = f"{int(path.name[:3])}:{block.line}"
            assert " ".join(block.code.split()).startswith(held.pop(place))
    assert held == {}


def test_the_index_of_names_is_complete() -> None:
    if not DOCUMENTS.is_dir():
        pytest.skip("the documents are not here")
    used: set[str] = set()
    for path in DOCUMENTS.glob("*.txt"):
        for block in code_blocks(path, "python"):
            if "training_loss: 0.314" in block.code:
                continue  # a list of figures, and no Python; each is in measuring.md
            tree = compile(block.code, path.name, "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and str(node.module).startswith("q_store"):
                    used |= {alias.name for alias in node.names}
                elif isinstance(node, ast.keyword):
                    used.add(str(node.arg))
                elif isinstance(node, ast.Await) and isinstance(call := node.value, ast.Call):
                    used.add(ast.unparse(call.func).rpartition(".")[2])
    of_others = {"axis", "lr"}  # of numpy and torch
    assert used - of_others - {item.text for item in items("name")} == set()


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.stem != OVER_HTTP], ids=lambda page: page.stem
)
def test_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_page(page, tmp_path, monkeypatch)


def test_an_error_names_the_line_of_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A\n\n```python\nx = 1\n```\n\n- b\n\n  ```python\n  y = x\n\n  raise KeyError(y)\n  ```\n",
        encoding="utf-8",
    )
    with pytest.raises(KeyError) as raised:
        run_blocks(code_blocks(page), tmp_path)
    assert raised.value.__notes__ == [f"in the block at {page}:12"]
