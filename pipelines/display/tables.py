"""The table at the end of a run, and wherever else figures are printed under headings."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TextIO

MAX_WIDTH = 100
"""Columns of anything printed; longer lines are hard to read."""


def result_table(
    title: str,
    sections: Mapping[str, Mapping[str, str | Mapping[str, str]]],
    footer: Sequence[str] = (),
    *,
    file: TextIO | None = None,
    width: int | None = None,
) -> None:
    """Print the figures of a finished run, to stderr if no file is given.

    Long values are broken between words only: a path stays whole, so that it can be copied.

    Args:
        title: the run and its headline result.
        sections: heading -> label -> value with its unit. A value that is itself a mapping makes a row with columns:
            ``{"loss": {"train": "0.12", "test": "0.14"}}``.
        footer: lines below, such as how to open the run in MLflow.
        width: columns; as wide as the terminal, at most 100, if absent; 80 where there is none.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(file=file, stderr=file is None, highlight=False)
    columns = width or (min(console.width, MAX_WIDTH) if console.is_terminal else 80)
    labels = [f"  {label}" for rows in sections.values() for label in rows]
    label_width = max(map(len, [*labels, *sections]), default=0) + 2
    rule = ("-" if console.options.ascii_only else "─") * columns

    def show(*parts: tuple[str, str]) -> None:
        console.print(Text.assemble(*parts), soft_wrap=True)

    show((rule, "cyan"))
    show((title, "bold"))
    for heading, rows in sections.items():
        table = _columns(rows)
        show()
        head = table.pop("", "")
        show((heading.ljust(label_width) if head else heading, "bold cyan"), (head, "dim"))
        for label, value in table.items():
            lines = textwrap.wrap(
                value, max(columns - label_width, 20), break_long_words=False, break_on_hyphens=False
            )
            first, *others = lines if len(lines) > 1 else [value]
            show((f"  {label}".ljust(label_width), ""), (first, ""))
            for line in others:
                show((" " * label_width + line, ""))
    show((rule, "cyan"))
    for line in footer:
        show((line, ""))


def _columns(rows: Mapping[str, str | Mapping[str, str]]) -> dict[str, str]:
    """The rows as texts, those with columns aligned under a head, which has the label ``""``."""
    heads = list(
        dict.fromkeys(head for value in rows.values() if not isinstance(value, str) for head in value)
    )
    wide = [value for value in rows.values() if not isinstance(value, str)]
    widths = {head: max(len(head), *(len(value.get(head, "–")) for value in wide)) for head in heads}

    def line(cells: Mapping[str, str]) -> str:
        return "   ".join(cells.get(head, "–").rjust(size) for head, size in widths.items())

    texts = {"": line({head: head for head in heads})} if heads else {}
    return texts | {label: value if isinstance(value, str) else line(value) for label, value in rows.items()}
