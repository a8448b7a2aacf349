"""Pages that take Ray, an MLflow store and a paid target: the tutorial from its first line to its last, and how-to pages about MLflow."""

from __future__ import annotations

import contextlib
import io
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import mlflow
import pytest

from actors.ionq.emulator import Emulator, EmulatorSettings
from pipelines.cli import main
from tests.command import Command, start_command
from tests.documents import follow, without_pictures

pytestmark = pytest.mark.alone

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder like a checkout, as far as the pages use one."""
    without_pictures(monkeypatch)
    folder = tmp_path / "pipelines" / "configs"
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "pipelines" / "configs" / "breast_cancer.toml", folder)
    yield tmp_path
    mlflow.set_tracking_uri(None)  # which it keeps in the environment, where the next test would find it


class Shell:
    """The commands of a page: qfleet's in this process, one with an ``&`` in one of its own, ``kill`` when there is something to lose.

    Args:
        cloud: where jobs arrive.
    """

    def __init__(self, cloud: Emulator) -> None:
        self._cloud = cloud
        self._behind: Command | None = None

    def __call__(self, words: Sequence[str]) -> str:
        """Run one, to its end unless it is put behind; refusals (exit code 2) are shown like answers."""
        if words[0] == "kill":
            return self._kill()
        assert words[0] == "qfleet", words
        if words[-1] == "&":
            self._behind = start_command(Path.cwd(), *words[1:-1])
            return ""
        with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.redirect_stderr(text):
            code = main(list(words[1:]))
        assert code in (0, 2), text.getvalue()
        return text.getvalue()

    def _kill(self) -> str:
        """SIGKILL, when some of the jobs have been accepted and some have not."""
        assert self._behind is not None
        deadline = time.monotonic() + 120
        while self._cloud.totals()["jobs_accepted"] < 3:
            assert self._behind.poll() is None, self._behind.errors
            assert time.monotonic() < deadline, self._behind.errors
            time.sleep(0.01)
        self._behind.send_signal(signal.SIGKILL)
        self._behind.wait(10)
        assert self._cloud.totals()["jobs_accepted"] < 6
        return ""


def test_the_tutorial(workplace: Path, local_ray: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with Emulator(EmulatorSettings(queue_seconds=0.4)) as cloud:
        monkeypatch.setenv("IONQ_REMOTE_HOST", cloud.url)
        monkeypatch.setenv("IONQ_API_KEY", "anything")
        follow(DOCS / "tutorial.md", workplace, Shell(cloud))


@pytest.mark.parametrize("page", ["compare-in-mlflow.md", "use-a-model-elsewhere.md"])
def test_how_to(page: str, workplace: Path) -> None:
    follow(DOCS / "how-to" / page, workplace)


def test_a_backend_of_ones_own_is_held_against_the_suite_of_all(tmp_path: Path) -> None:
    """The page's command, over a part of what it collects: the largest circuits, the chunking and all that must be refused."""
    page = (DOCS / "how-to" / "own-backend.md").read_text(encoding="utf-8")
    (tmp_path / "my_backend.py").write_text(page.split("```python\n")[1].split("```")[0], encoding="utf-8")
    command = "QFLEET_BACKENDS=my_backend:DenseBackend python -m pytest tests/contract/test_backend_conformance.py -k my_backend"
    assert command in page
    part = command.replace(
        "-k my_backend", "-k 'my_backend and (IXYZ-4 or IZ-6 or idle or chunking or TestRefusals)'"
    )
    found = subprocess.run(
        ["sh", "-c", f"PYTHONPATH={tmp_path} {part.replace('python', sys.executable, 1)} -q -p no:cacheprovider"],
        cwd=ROOT, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stdout[-3000:]
    assert " passed" in found.stdout
