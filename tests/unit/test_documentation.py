"""Pages that people follow: what they say to type is typed, and what they say is printed must be printed.

The parts that need Ray, MLflow or many seconds are in tests/integration/test_documentation.py.
"""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documents import follow

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
IN_INTEGRATION = {"compare-in-mlflow.md", "use-a-model-elsewhere.md"}
"""How-to pages whose subject is MLflow."""
HOW_TO = sorted(path.name for path in (DOCS / "how-to").glob("*.md") if path.name not in IN_INTEGRATION)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder like a user's own: modules in it can be imported, and the example configuration lies there. No plots are drawn."""
    monkeypatch.setenv("IONQ_API_KEY", "key-of-the-emulator")
    monkeypatch.setattr("pipelines.trainer.log_outcome", lambda *arguments, **named: None)
    monkeypatch.syspath_prepend(str(tmp_path))
    shutil.copy(ROOT / "pipelines" / "configs" / "breast_cancer.toml", tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]
    importlib.invalidate_caches()


@pytest.mark.parametrize("shown", ["2\n1\n", "1\n3\n", "1 ... 2\n"])
def test_what_is_not_printed_is_noticed(shown: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    code = "```python\n# part.py\nvalue = 1\n```\n\n```python\nimport runpy\n\nprint(runpy.run_path('part.py')['value'])\nprint(2)\n```\n\n"
    page.write_text(f"{code}```\n1\n...\n2\n```\n")
    follow(page, tmp_path)
    page.write_text(f"{code}```\n{shown}```\n")
    with pytest.raises(AssertionError, match=r"page.md:1[45]: not printed"):
        follow(page, tmp_path)


@pytest.mark.parametrize("page", HOW_TO)
def test_how_to(page: str, workplace: Path) -> None:
    follow(DOCS / "how-to" / page, workplace)
