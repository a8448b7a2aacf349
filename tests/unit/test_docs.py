"""The documentation says what is true now."""

from __future__ import annotations

import re
from pathlib import Path

from pipelines.config_reference import reference

ROOT = Path(__file__).parents[2]


def test_the_configuration_page_is_the_configuration() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == reference(), "write it anew: python -m pipelines.config_reference > docs/configuration.md"


def test_every_file_that_the_readme_names_exists() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"\]\(([^)#]+)\)|`((?:tests|pipelines|docs|orchestrator)/[\w/]+\.\w+)`", text)
    for path in (a or b for a, b in named):
        assert (ROOT / path).exists(), path


def test_the_first_example_is_short() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    first = re.findall(r"```python\n(.*?)```", text, re.S)[0]
    assert len(first.strip().splitlines()) <= 15
