"""What trainings will take, before any of them starts: circuits, shots, and dollars where they are paid for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.compose import build_backend, mitigation_of
from pipelines.display.formatting import format_count
from pipelines.quote import quote, run_shape
from pipelines.quote_report import in_dollars
from pipelines.report import summary
from pipelines.run_setup import PreparedRun


@dataclass(frozen=True)
class Expected:
    """What a training, or several, will take.

    Attributes:
        circuits, shots: of all of it, where it does not stop early.
        least_usd, most_usd: dollars; 0 where nothing costs money; None where no price is known.
        note: why not, or what else there is to say.
    """

    circuits: int
    shots: int
    least_usd: float | None
    most_usd: float | None
    note: str = ""

    @property
    def is_paid(self) -> bool:
        """It costs money, or nobody knows."""
        return self.most_usd is None or self.most_usd > 0

    @property
    def usd_text(self) -> str:
        """Dollars, as people read them."""
        if self.most_usd is None or self.least_usd is None:
            return "unknown"
        low, high = in_dollars(self.least_usd), in_dollars(self.most_usd)
        return high if low == high else f"{low} to {high}"

    @property
    def text(self) -> str:
        """In a few words."""
        cost = f", {self.usd_text}" if self.is_paid else ""
        return f"{format_count(self.circuits, 'circuits')}{cost}"

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        plain: dict[str, Any] = {
            "circuits": self.circuits, "shots": self.shots, "least_usd": self.least_usd, "most_usd": self.most_usd
        }  # fmt: skip
        return plain | ({"note": self.note} if self.note else {})

    def times(self, n: int) -> Expected:
        """`n` of it."""
        least, most = (None if usd is None else n * usd for usd in (self.least_usd, self.most_usd))
        return Expected(n * self.circuits, n * self.shots, least, most, self.note)


def expected(run: PreparedRun) -> Expected:
    """What the training of `run` will take, validation and test included."""
    return _expected(run, int(summary(run)["circuits"]), ("run",))


def expected_test(run: PreparedRun) -> Expected:
    """What it takes to score the test split of `run` once, by itself."""
    test, mitigation = run_shape(run).test, mitigation_of(run.config.backend)
    n = (
        0
        if test is None
        else test.n_circuits * mitigation.circuits_per_point + mitigation.n_calibration_circuits
    )
    return _expected(run, n, ("test", "calibration"))


def _expected(run: PreparedRun, circuits: int, parts: Sequence[str]) -> Expected:
    """`circuits`, with dollars of those parts of the quote."""
    shots = circuits * (run.config.backend.shots or 0)
    if not build_backend(run.config).capabilities.is_paid:
        return Expected(circuits, shots, 0.0, 0.0)
    if run.config.backend.name != "ionq":
        return Expected(circuits, shots, None, None, f"no prices of {run.config.backend.name}")
    rule = run.config.gradient.rule
    targets = run.config.backend.targets or (run.config.backend.target,)
    priced = quote(run, targets, ["parameter_shift" if rule == "auto" else rule])["targets"]
    rows = [target["rules"][0] for target in priced]
    refused = [row["refused"] for row in rows if "refused" in row]
    if refused:
        return Expected(circuits, shots, None, None, refused[0])
    # of several targets the cheapest and the dearest, since nobody knows how they will share the jobs
    least, most = ([_sum(row, parts, end) for row in rows] for end in ("least", "most"))
    return Expected(
        int(max(one["circuits"] for one in most)), int(max(one["shots"] for one in most)),
        min(one["usd"] for one in least), max(one["usd"] for one in most),
    )  # fmt: skip


def _sum(row: Mapping[str, Any], parts: Sequence[str], end: str) -> dict[str, float]:
    """Of those parts of a row of the quote, at that end where it is a range."""
    found = [row[part].get(end, row[part]) for part in parts]
    return {name: sum(one[name] for one in found) for name in ("circuits", "shots", "usd")}


def together(parts: Iterable[Expected]) -> Expected:
    """All of them."""
    found = list(parts)
    note = next((one.note for one in found if one.note), "")
    least = (
        None if any(one.least_usd is None for one in found) else sum(one.least_usd or 0.0 for one in found)
    )
    most = None if any(one.most_usd is None for one in found) else sum(one.most_usd or 0.0 for one in found)
    return Expected(sum(one.circuits for one in found), sum(one.shots for one in found), least, most, note)
