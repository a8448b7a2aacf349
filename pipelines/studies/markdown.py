"""Tables as Markdown, for the reports of studies."""

from __future__ import annotations

from collections.abc import Mapping


def table(corner: str, rows: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Lines of a table: a row for each label, a column for each heading that any row has.

    Args:
        corner: heading of the labels.
    """
    heads = list(dict.fromkeys(head for row in rows.values() for head in row))
    lines = [_line([corner, *heads]), f"|{'---|' * (len(heads) + 1)}"]
    return lines + [_line([label, *(row.get(head, "–") for head in heads)]) for label, row in rows.items()]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
