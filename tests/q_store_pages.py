"""The pages of docs/coming-from-q-store: what they hold, and running them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.documents import Block, code_blocks, run_blocks, without_pictures

ROOT = Path(__file__).parents[1]
INDEX = ROOT / "docs" / "coming-from-q-store.md"
PAGES = tuple(sorted((ROOT / "docs" / "coming-from-q-store").glob("*.md")))
OVER_HTTP = "ionq"
"""The page that talks to IonQ's emulator."""
_EXTRAS = {"pytorch": ("torch", "lancedb"), "database": ("lancedb", "optuna"), "training": ("optuna",)}
_THEIRS = re.compile(r"^\*Theirs: (?P<places>.*)\*$")
_PLACE = re.compile(r"\d:\d+")
_HEADING = re.compile(r"^#+ (?P<text>.*)$")


class Entry(NamedTuple):
    """What a page says of some places of the documents: the places, and the blocks down to the next entry."""

    heading: str
    places: tuple[str, ...]
    blocks: tuple[Block, ...]

    @property
    def runs(self) -> bool:
        """Whether it has code of ours."""
        return any(block.info in ("python", "bash") and block.file_name is None for block in self.blocks)


def entries(page: Path) -> Iterator[Entry]:
    """The entries of a page: a heading with, right below, a line ``*Theirs: 3:57, 4:206*``."""
    lines, blocks = page.read_text(encoding="utf-8").splitlines(), code_blocks(page)
    starts = [(number, match) for number, line in enumerate(lines, start=1) if (match := _THEIRS.match(line))]
    for (start, match), end in zip(starts, [*(n for n, _ in starts[1:]), len(lines) + 1], strict=True):
        heading = _HEADING.match(lines[start - 3])
        assert heading, f"{page.name}:{start}: no heading above this entry"
        inside = tuple(block for block in blocks if start < block.line < end)
        yield Entry(heading["text"], tuple(_PLACE.findall(match["places"])), inside)


def run_page(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a page in an empty folder, from its top to its bottom, behind what the index page begins with."""
    for package in _EXTRAS.get(page.stem, ()):
        pytest.importorskip(package)
    before = set(sys.modules)
    without_pictures(monkeypatch)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])  # for the modules that a page writes
    names: dict[str, object] = {}
    torch = sys.modules.get("torch")
    n_threads = 0 if torch is None else torch.get_num_threads()
    try:
        if torch is not None:  # several threads beside other tests on the same cores are many times slower
            torch.set_num_threads(1)
        run_blocks(
            (block for block in code_blocks(INDEX) if block.section == "Before you begin"), folder, names
        )
        run_blocks(code_blocks(page), folder, names)
    finally:
        if torch is not None:
            torch.set_num_threads(n_threads)
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
                del sys.modules[name]
