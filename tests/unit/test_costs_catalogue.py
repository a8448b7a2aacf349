"""The price catalogue: what is built in, what a file may replace, and how it is refused."""

from __future__ import annotations

import tomllib
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from orchestrator.costs.catalogue import Catalogue, Flat, GateShot, TaskShot
from orchestrator.errors import ConfigError

ROOT = Path(__file__).parents[2]
OWN = """
[targets."qpu.aria-1"]
model = "gate_shot"
price_1q_usd = 0.0003
price_2q_usd = 0.001
minimum_usd = 1
minimum = "floor"
minimum_per = "job"
date = 2026-01-02
source = "our contract"

[targets."qpu.aria-2"]
like = "qpu.aria-1"
price_2q_usd = 0.0012
date = 2026-01-03
source = "our contract"
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "prices.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_built_in_prices() -> None:
    catalogue = Catalogue.default()
    aria, forte, braket = (catalogue.entry(t) for t in ("qpu.aria-1", "qpu.forte-1", "braket.forte-1"))
    assert isinstance(aria, GateShot)
    assert isinstance(forte, GateShot)
    assert isinstance(braket, TaskShot)
    assert isinstance(catalogue.entry("simulator"), Flat)
    prices = [(e.price_1q_usd, e.price_2q_usd, e.minimum_usd, e.minimum_mitigated_usd) for e in (aria, forte)]
    assert prices == [
        tuple(map(Decimal, ("0.000220", "0.000975", "12.4166", "97.50"))),
        tuple(map(Decimal, ("0.0001645", "0.001121", "25.7899", "168.195"))),
    ]
    assert (braket.price_task_usd, braket.price_shot_usd) == (Decimal("0.30"), Decimal("0.08"))
    assert (aria.minimum, aria.minimum_per) == ("added", "circuit"), "the dearest reading"
    for target, entry in catalogue.entries.items():
        assert entry.target == target
        assert entry.date >= date(2025, 9, 17)
        assert entry.source
        assert entry.reading


def test_the_file_is_installed_with_the_package() -> None:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"][
        "package-data"
    ]
    folder = ROOT / "orchestrator" / "costs"
    assert [path for pattern in data["orchestrator.costs"] for path in folder.glob(pattern)] == [
        folder / "prices.toml"
    ]


def test_a_file_replaces_and_joins(tmp_path: Path) -> None:
    catalogue = Catalogue.load(written(tmp_path, OWN))
    ours, like, other = (catalogue.entry(t) for t in ("qpu.aria-1", "qpu.aria-2", "qpu.forte-1"))
    assert isinstance(ours, GateShot)
    assert isinstance(like, GateShot)
    assert (ours.price_1q_usd, ours.minimum_usd, ours.minimum, ours.minimum_per) == (
        Decimal("0.0003"), Decimal(1), "floor", "job",
    )  # fmt: skip
    assert ours.minimum_mitigated_usd == 0, "an entry is replaced as a whole"
    assert ours.max_qubits is None
    assert (like.price_1q_usd, like.price_2q_usd) == (Decimal("0.000220"), Decimal("0.0012")), (
        "of the built-in one"
    )
    assert (like.date, like.source, like.max_qubits) == (date(2026, 1, 3), "our contract", 25)
    assert other == Catalogue.default().entry("qpu.forte-1")


def test_an_unknown_target_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"qpu\.aria1.*did you mean 'qpu\.aria-1'"):
        Catalogue.default().entry("qpu.aria1")


ENTRY = '[targets."t"]\nmodel = "flat"\nprice_usd = 0\ndate = 2026-01-01\nsource = "s"\n'


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[targets\n", ["cannot be read as TOML"]),
        ("[target.x]\n", ["target", "no such key", "'targets'"]),
        ("targets = 3\n", ["is no entry"]),
        ("[targets]\nt = 3\n", ["t = 3", "is no entry"]),
        (ENTRY.replace("flat", "flatt"), ["t.model = 'flatt'", "'flat'"]),
        (ENTRY.replace('model = "flat"\n', ""), ["t.model = None", "gate_shot"]),
        (ENTRY.replace("price_usd", "prise_usd"), ["t.prise_usd", "'price_usd'"]),
        (ENTRY.replace("price_usd = 0\n", ""), ["t.price_usd", "is missing"]),
        (ENTRY.replace("date = 2026-01-01\n", ""), ["t.date", "is missing"]),
        (ENTRY.replace('source = "s"\n', ""), ["t.source", "is missing"]),
        (ENTRY.replace("2026-01-01", '"yesterday"'), ["t.date = 'yesterday'", "2025-09-17"]),
        (ENTRY.replace("price_usd = 0", "price_usd = -0.5"), ["t.price_usd", "-0.5", "not negative"]),
        (ENTRY.replace("price_usd = 0", "price_usd = nan"), ["t.price_usd", "number of dollars"]),
        (ENTRY.replace("price_usd = 0", "price_usd = true"), ["t.price_usd = True"]),
        (ENTRY.replace("price_usd = 0", 'price_usd = "0"'), ["t.price_usd = '0'"]),
        (ENTRY + 'per = "jobb"\n', ["t.per = 'jobb'", "'job'"]),
        (ENTRY + "max_qubits = 0\n", ["t.max_qubits = 0", "'1'"]),
        (ENTRY + "max_shots = 1.5\n", ["t.max_shots"]),
        (ENTRY.replace('"s"', '""'), ["t.source", "must be a text"]),
        (ENTRY + 'like = "qpu.aria1"\n', ["t.like = 'qpu.aria1'", "'qpu.aria-1'"]),
    ],
)  # fmt: skip
def test_refusals_name_the_key_and_the_remedy(tmp_path: Path, text: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        Catalogue.load(written(tmp_path, text))
    for part in parts:
        assert part in str(caught.value)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"budget\.prices"):
        Catalogue.load(tmp_path / "none.toml")
