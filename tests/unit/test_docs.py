"""The documentation says what is true now: generated pages are current, links lead somewhere, commands are commands."""

from __future__ import annotations

import contextlib
import functools
import io
import re
import shlex
from pathlib import Path

import pytest

from pipelines import api_reference
from pipelines.api_pages import pages
from pipelines.cli import parsed
from pipelines.config_reference import reference
from tests.documents import code_blocks

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
API = [DOCS / "api" / f"{name}.md" for name in pages()]
WRITTEN_BY_HAND = [page for page in PAGES if DOCS / "api" not in page.parents]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_configuration_page_is_the_configuration() -> None:
    page = (DOCS / "configuration.md").read_text(encoding="utf-8")
    assert page == reference(), "write it anew: python -m pipelines.config_reference > docs/configuration.md"


@pytest.mark.parametrize("name", pages())
def test_the_api_reference_is_what_the_code_says(name: str) -> None:
    if name == "frontends":
        pytest.importorskip("torch")
        pytest.importorskip("pennylane")
    page = (DOCS / "api" / f"{name}.md").read_text(encoding="utf-8")
    assert page == api_reference.page_text(pages()[name]), (
        "write it anew: python -m pipelines.api_reference docs/api"
    )


def test_the_api_index_has_every_page_and_there_are_no_others() -> None:
    assert (DOCS / "api" / "README.md").read_text(encoding="utf-8") == api_reference.index_text()
    assert sorted((DOCS / "api").glob("*.md")) == sorted([*API, DOCS / "api" / "README.md"])


@pytest.mark.parametrize("path", API, ids=name_of)
def test_everything_in_the_api_reference_says_what_it_is(path: Path) -> None:
    entries = re.split(r"^#{2,3} ", path.read_text(encoding="utf-8"), flags=re.M)[1:]
    for entry in entries:
        said = re.sub(r"```.*?```", "", entry, flags=re.S).splitlines()[1:]
        words = [
            line for line in said if line and not re.match(r"(Class|Function|Protocol)\b.*, in \[", line)
        ]
        assert words, f"no docstring: {entry.splitlines()[0]}"
        assert " at 0x" not in entry, entry.splitlines()[0]


def test_every_file_that_the_readme_names_exists() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for path in re.findall(r"`((?:tests|pipelines|docs|orchestrator)/[\w/]+\.\w+)`", text):
        assert (ROOT / path).exists(), path


def test_the_first_example_is_short() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    first = re.findall(r"```python\n(.*?)```", text, re.S)[0]
    assert len(first.strip().splitlines()) <= 15


def test_every_page_is_in_the_index() -> None:
    text = (DOCS / "README.md").read_text(encoding="utf-8")
    for page in WRITTEN_BY_HAND:
        if page.parent in (DOCS, DOCS / "how-to") and page.name != "README.md":
            assert f"({page.relative_to(DOCS)}" in text, f"docs/README.md does not name {name_of(page)}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name_of(page)}: {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{name_of(page)}: no heading for {link}"


@pytest.mark.parametrize("page", WRITTEN_BY_HAND, ids=name_of)
def test_every_command_is_one(page: Path) -> None:
    """Those that are shown are read by the parser that reads them; ``...`` and capitals stand for what a reader puts there."""
    for line, words in commands(page):
        said = refusal(tuple(words))
        assert said is None, f"{name_of(page)}:{line}: {shlex.join(words)}\n{said}"


@functools.cache
def refusal(words: tuple[str, ...]) -> str | None:
    """What is said against a command line; None where there is nothing."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            parsed(words)
        except SystemExit as ended:
            return said.getvalue() if ended.code else None
    return None


def without_code(page: Path) -> str:
    """The text between the fences, and without what is in backticks."""
    text = re.sub(r"^[ \t]*(```+|~~~+).*?^[ \t]*\1", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    return re.sub(r"`[^`\n]*`", "", text)


@functools.cache
def anchors(page: Path) -> frozenset[str]:
    """What GitHub makes of the headings: small letters, spaces as hyphens, no punctuation, repeated ones numbered."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    found: list[str] = []
    for heading in re.findall(r"^#{1,6} (.+)$", text, re.M):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.append(slug if slug not in found else f"{slug}-{found.count(slug)}")
    return frozenset(found)


def commands(page: Path) -> list[tuple[int, list[str]]]:
    """(line, words behind ``qfleet``) of the commands in blocks of shell, and in those without a language behind a ``$``."""
    found = []
    for block in code_blocks(page):
        if block.info not in ("", "bash", "sh", "console"):
            continue
        code = re.sub(r"\\\n\s*", " ", block.code)
        for text in code.splitlines():
            match = re.match(r"(\S*\$ )?qfleet (?P<rest>.+)", text)
            if (
                not match
                or "..." in text
                or "…" in text
                or (block.info == "" and match["rest"].startswith(("· ", ": ")))
            ):
                continue
            words = shlex.split(match["rest"].rstrip(" &"), comments=True)
            found.append((block.line, words))
    return found
