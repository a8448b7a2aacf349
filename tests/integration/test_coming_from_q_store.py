"""The page of docs/coming-from-q-store on jobs at IonQ runs, against the emulator."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.q_store_pages import OVER_HTTP, PAGES, run_page

pytestmark = pytest.mark.alone


def test_the_page_on_jobs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IONQ_REMOTE_HOST", "IONQ_API_KEY"):
        monkeypatch.setenv(name, "")  # the page sets them; afterwards they are as before
    [page] = [page for page in PAGES if page.stem == OVER_HTTP]
    run_page(page, tmp_path, monkeypatch)
