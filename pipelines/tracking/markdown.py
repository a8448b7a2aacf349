"""Descriptions of runs, Markdown, as MLflow's pages can show them."""

from __future__ import annotations

import re

NOTE_TAG = "mlflow.note.content"
"""The tag that MLflow shows as the description of a run."""

_LINK = re.compile(r"(!?)\[([^\]\n]*)\]\(artifacts/([^)\s]+)\)")


def with_links(markdown: str, experiment_id: str, run_id: str) -> str:
    """The Markdown with its links to files below ``artifacts/`` as links into MLflow's pages, and its images as images there.

    As it was written, the links lead to the files beside the text in the run's folder.
    """

    def link(found: re.Match[str]) -> str:
        mark, text, path = found.groups()
        if mark:
            return f"![{text}](get-artifact?path={path}&run_uuid={run_id})"
        return f"[{text}](#/experiments/{experiment_id}/runs/{run_id}/artifacts/{path})"

    return _LINK.sub(link, markdown)


def cut_description(markdown: str, limit: int) -> str:
    """At most `limit` characters, whole lines, and a last one that says where the rest is."""
    if len(markdown) <= limit:
        return markdown
    note = "\n\n*(cut here; the whole of it is the artifact report.md)*\n"
    return markdown[: limit - len(note)].rpartition("\n")[0] + note
