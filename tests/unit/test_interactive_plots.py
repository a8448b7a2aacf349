"""Interactive pages: they hold all they need, stay small whatever they show, and show the figures that they are given."""

from __future__ import annotations

import base64
import gzip
import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.protocols import JobSpan
from orchestrator.training.reports import EpochReport, Totals
from pipelines.plots.interactive import Curve, Point, overlaid_curves, run_page, scatter

MAX_BYTES = 1_500_000


def columns(page: Path) -> list[dict[str, list[Any]]]:
    """The data of each part of a page, by column; NaN and infinities as bokeh writes them."""
    (text,) = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page.read_text(), re.DOTALL)
    found: list[dict[str, list[Any]]] = []

    def visit(node: Any) -> None:
        if isinstance(node, dict):
            if node.get("name") == "ColumnDataSource":
                entries = node["attributes"]["data"]["entries"]
                found.append({key: values(value) for key, value in entries})
            for value in node.values():
                visit(value)
        elif isinstance(node, list):
            for value in node:
                visit(value)

    visit(json.loads(html.unescape(text)))
    return found


def values(value: Any) -> list[Any]:
    if isinstance(value, dict) and value.get("type") == "ndarray":
        raw = value["array"]["data"] if isinstance(value["array"], dict) else value["array"]
        return (
            list(np.frombuffer(gzip.decompress(base64.b64decode(raw)), value["dtype"]))
            if isinstance(raw, str)
            else raw
        )
    return list(value)


def history(n: int) -> list[EpochReport]:
    return [
        EpochReport(
            epoch=k, n_epochs=n, step=10 * k, metrics={"train/epoch_loss": 1 / k, "val/loss": 2 / k, "val/accuracy": 1 - 1 / k},
            monitored="val/loss", is_best=True, best_epoch=k, best_value=2 / k, learning_rate=0.1, totals=Totals(), seconds=1.0,
        )
        for k in range(1, n + 1)
    ]  # fmt: skip


def check_self_contained(page: Path) -> None:
    text = page.read_text()
    assert page.stat().st_size < MAX_BYTES
    head = text.partition("<body>")[0]
    assert not re.findall(r"<(?:script|link)[^>]+(?:src|href)=", head), "all of it is in the page"
    assert text.count("<script") >= 2


def test_the_page_of_a_run(tmp_path: Path) -> None:
    spans = [
        JobSpan(f"actor-{i % 2}", str(i), 100 + i, 101 + i, step=i // 4, n_circuits=7) for i in range(80)
    ]
    page = run_page(
        tmp_path / "new" / "page.html", title="<b>a & b</b>", history=history(5), step_losses=np.arange(50.0),
        test_metrics={"test/accuracy": 0.75}, confusion=np.array([[5, 1], [2, 4]]), class_names=["<x>", "y"], spans=spans,
    )  # fmt: skip
    check_self_contained(page)
    text = page.read_text()
    assert "&lt;b&gt;a &amp; b&lt;/b&gt;" in text
    assert "test: accuracy 75.0 %" in text
    found = columns(page)
    lines = [each for each in found if set(each) == {"x", "y"}]
    assert [50.0, *range(50)][1:] in [each["y"] for each in lines]
    assert next(each["x"] for each in lines if each["y"] == [2.0, 1.0, 2 / 3, 0.5, 0.4]) == [
        10,
        20,
        30,
        40,
        50,
    ]
    matrix = next(each for each in found if "count" in each)
    assert matrix["count"] == [5, 1, 2, 4]
    assert matrix["actual"] == ["<x>", "<x>", "y", "y"]
    (bars,) = [each for each in found if "worker" in each]
    assert sum(bars["jobs"]) == 80
    assert sum(bars["circuits"]) == 560
    assert (min(bars["begin"]), max(bars["end"])) == (0.0, 80.0)


@pytest.mark.parametrize("n", [0, 1])
def test_the_page_of_a_run_that_hardly_began(n: int, tmp_path: Path) -> None:
    page = run_page(tmp_path / "page.html", title="t", history=history(n), step_losses=[0.5] * n)
    check_self_contained(page)


def test_a_long_run_stays_small_and_keeps_its_extremes(tmp_path: Path) -> None:
    losses = np.random.default_rng(1).random(200_000)
    losses[123_456], losses[7] = 9.0, -9.0
    losses[100] = np.nan
    spans = [
        JobSpan(f"actor-{i % 16}", str(i), 0.01 * i, 0.01 * i + 0.1, step=i // 16, n_circuits=1)
        for i in range(60_000)
    ]
    page = run_page(
        tmp_path / "page.html", title="long", history=history(400), step_losses=losses, spans=spans,
        confusion=np.ones((10, 10), int), class_names=[f"class {i}" for i in range(10)],
    )  # fmt: skip
    check_self_contained(page)
    found = columns(page)
    drawn = [each for each in found if set(each) == {"x", "y"} and len(each["y"]) > 1000]
    assert {(123_457.0, 9.0), (8.0, -9.0)} <= {
        (x, y) for each in drawn for x, y in zip(each["x"], each["y"], strict=True)
    }
    (bars,) = [each for each in found if "worker" in each]
    assert sum(bars["jobs"]) == 60_000
    assert len(set(bars["worker"])) == 16


def test_overlaid_curves_with_bands(tmp_path: Path) -> None:
    x = np.arange(1, 6)
    page = overlaid_curves(
        {"a": Curve(x, x / 10.0, x / 20.0, x / 5.0), "b": Curve(x, x / 7.0)}, tmp_path / "curves.html",
        title="two", subtitle="mean of 3 seeds", x_label="circuits", y_label="loss", log_y=True,
    )  # fmt: skip
    check_self_contained(page)
    found = columns(page)
    assert [each for each in found if {"y1", "y2"} <= set(each)]
    assert "mean of 3 seeds" in page.read_text()


def test_scatter_of_cost_against_accuracy(tmp_path: Path) -> None:
    points = [
        Point("cheap", 100, 0.8, 0.05, "adam", {"seeds": "3"}, is_marked=True),
        Point("dear", 1000, 0.9, 0.02, "adam", is_marked=True),
        Point("bad", 900, 0.7, None, "sgd"),
    ]
    page = scatter(points, tmp_path / "scatter.html", title="cost", log_x=True)
    check_self_contained(page)
    found = columns(page)
    named = [each for each in found if "details" in each]
    assert [each["name"] for each in named] == [["cheap", "dear"], ["bad"]]
    assert named[0]["details"] == ["seeds 3", ""]
    assert [100, 1000] in [each["x"] for each in found if set(each) == {"x", "y"}], "the front"
    bars = [each for each in found if "y0" in each]
    assert next(each["y0"] for each in bars) == pytest.approx([0.75, 0.88])
