"""PennyLane's own tests of a device, passed by ours: exact, and with shots where values are estimated.

What the device does not offer is listed, with the reason, in `pennylane_plugin.REFUSED`; that those tests fail is part of the test.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pennylane = pytest.importorskip("pennylane")

ROOT = Path(__file__).parents[2]
SUITE = Path(pennylane.__file__).parent / "devices" / "tests"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shots", "names", "at_least"),
    [
        ("None", ("",), 350),
        ("1000000", ("test_measurements.py",), 55),  # as many as the suite itself takes for a default
    ],
    ids=["exact", "shots"],
)  # fmt: skip
def test_the_device_passes(shots: str, names: tuple[str, ...], at_least: int) -> None:
    command = [
        sys.executable, "-m", "pytest", *(str(SUITE / name) for name in names), "--device=qfleet", f"--shots={shots}", "--skip-ops",
        "-p", "tests.contract.pennylane_plugin", "-p", "no:cacheprovider", "-q", "-W", "ignore", "--tb=short",
    ]  # fmt: skip
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
    passed = re.search(r"(\d+) passed", run.stdout)
    assert passed is not None
    assert int(passed[1]) >= at_least
