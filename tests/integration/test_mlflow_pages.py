"""MLflow as people meet it: a real server, two finished runs, and a browser that looks at them and compares them.

The pictures that it takes go to the folder that QFLEET_SCREENSHOTS names, else below the test's own. docs/mlflow-compare.png is one:
``QFLEET_SCREENSHOTS=docs python -m pytest tests/integration/test_mlflow_pages.py -k selected``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pytest
from sklearn.datasets import load_breast_cancer

from orchestrator.config import TrainingConfig
from pipelines import cli
from pipelines.result import TrainingResult
from pipelines.trainer import Trainer
from tests.browser import Browser
from tests.integration.mlflow_server import MlflowServer

pytestmark = [pytest.mark.alone, pytest.mark.slow]

EXPERIMENT = "pages"
RATES = (0.1, 0.002)
HIDE_QFLEET = """
import importlib.util, sys
sys.meta_path = [each for each in sys.meta_path if "__editable__" not in getattr(each, "__module__", "")]
assert importlib.util.find_spec("pipelines") is None, "qfleet can be imported"
"""


@dataclass
class Runs:
    """Two runs that differ in their learning rate; the first one learned more."""

    server: MlflowServer
    folder: Path
    good: TrainingResult
    poor: TrainingResult

    @property
    def names(self) -> list[str]:
        client = mlflow.MlflowClient(self.server.uri)
        return [str(client.get_run(each.run_id).info.run_name) for each in (self.good, self.poor)]

    def qfleet(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
        """What a command says of these runs, in this process."""
        capsys.readouterr()
        assert cli.main([*arguments, "--directory", str(self.folder / "runs"), "--json"]) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found


@pytest.fixture(scope="module")
def runs(mlflow_server: MlflowServer, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("pages")
    base = TrainingConfig().with_overrides([
        "data.max_samples=200", "data.n_components=4", "model.n_qubits=4", "run.epochs=4", "fleet.dispatcher=serial",
        f"run.directory={folder / 'runs'}", f"tracking.uri={mlflow_server.uri}", f"tracking.experiment={EXPERIMENT}",
        "tracking.registered_model=tumours",
    ])  # fmt: skip
    good, poor = (
        Trainer(base.with_overrides([f"optimizer.learning_rate={rate}"]), progress=False).fit()
        for rate in RATES
    )
    return Runs(mlflow_server, folder, good, poor)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser"), width=1500, height=1650) as one:
        yield one


def pictures(tmp_path: Path) -> Path:
    return Path(os.environ.get("QFLEET_SCREENSHOTS") or tmp_path)


def named(text: str, tag: str = "button, a, span, label, [role=switch]") -> str:
    """JavaScript that finds the element with this text or label."""
    return (
        f"[...document.querySelectorAll({json.dumps(tag)})].find(each => "
        f"each.innerText.trim() === {json.dumps(text)} || each.getAttribute('aria-label') === {json.dumps(text)})"
    )


def close_assistant(browser: Browser) -> None:
    """A panel that MLflow opens for a browser that it has not met."""
    browser.click("document.querySelector('[data-component-id=\"mlflow.assistant.chat_panel.close\"]')")


def test_two_runs_are_selected_in_the_list_and_compared(runs: Runs, browser: Browser, tmp_path: Path) -> None:
    experiment = runs.good.experiment_id
    good, poor = runs.names
    assert good.startswith("learning rate 0.1 · breast_cancer · 4 qubits × 2 layers · ")
    assert poor.startswith("learning rate 0.002 · breast_cancer · ")
    browser.open(f"{runs.server.uri}/#/experiments/{experiment}/runs")
    close_assistant(browser)
    browser.wait_for_text("learning rate 0.002", "2 matching runs")
    for i in range(2):
        browser.click(f"document.querySelectorAll('.ag-row .ag-checkbox-input')[{i}]")
    browser.click(named("Compare"))
    browser.wait_for_text("Comparing 2 Runs from 1 Experiment", good, poor)
    browser.click(named("Parameters - Show diff only"))
    browser.click(named("Metrics - Show diff only"))
    browser.wait("!document.body.innerText.includes('model.n_qubits')")
    lines = [line.split("\t") for line in browser.text().splitlines() if "\t" in line]
    rows = {cells[0]: cells[1:] for cells in lines}
    assert sorted(rows["optimizer.learning_rate"]) == ["0.002", "0.1"], "what differs"
    assert not [name for name in rows if name.startswith(("model.", "data.", "tracking.", "run."))], (
        "and nothing else"
    )
    browser.click(named("Visualizations", "[role=button]"))  # folded, so that all else is in the picture
    browser.click("document.querySelector('[artifact-name=\"training.png\"]')")
    browser.wait("[...document.querySelectorAll('img')].filter(each => each.naturalWidth > 1000).length >= 2")
    browser.screenshot(pictures(tmp_path) / "mlflow-compare.png")


def test_qfleet_ui_opens_the_comparison_and_it_tells_who_won(
    runs: Runs, browser: Browser, capsys: pytest.CaptureFixture[str]
) -> None:
    page = runs.qfleet(capsys, "ui", runs.good.folder.name, runs.poor.folder.name)
    assert page["run_ids"] == [runs.good.run_id, runs.poor.run_id]
    browser.open(str(page["address"]))
    browser.wait_for_text("Comparing 2 Runs from 1 Experiment", *runs.names, "test/accuracy")
    text = browser.text()
    assert runs.good.metrics["test/accuracy"] > runs.poor.metrics["test/accuracy"]
    for result in (runs.good, runs.poor):
        shown = f"{result.metrics['test/accuracy']:.3f}".rstrip("0").rstrip(".")
        assert shown in text, shown


def test_a_runs_page_and_its_interactive_plots(runs: Runs, browser: Browser, tmp_path: Path) -> None:
    page = f"{runs.server.uri}/#/experiments/{runs.good.experiment_id}/runs/{runs.good.run_id}"
    browser.open(page)
    accuracy = f"{100 * runs.good.metrics['test/accuracy']:.1f} %"
    browser.wait_for_text(runs.names[0], f"test accuracy {accuracy}")
    browser.click(named("Show more"))
    browser.wait_for_text(f"qfleet evaluate {runs.good.folder.handle}")
    link = browser.js(f"{named('interactive')}.getAttribute('href')")
    assert link == f"#{page.partition('#')[2]}/artifacts/interactive.html"
    browser.screenshot(pictures(tmp_path) / "mlflow-run.png")
    browser.open(f"{runs.server.uri}/{link}")
    browser.wait("document.querySelector('iframe')")
    # Sandboxed as it is there, it can't be looked into; the same file alone can, and MLflow serves it as it was made.
    artifact = f"{runs.server.uri}/get-artifact?path=interactive.html&run_uuid={runs.good.run_id}"
    copy = tmp_path / "interactive.html"
    copy.write_bytes(browser.fetch(artifact))
    browser.open(copy.as_uri())
    browser.wait(
        "window.Bokeh && Bokeh.documents.length && Bokeh.documents[0].is_idle"
        " && document.querySelector('.bk-Column').shadowRoot.querySelectorAll('.bk-Figure').length >= 4"
    )
    browser.wait_for_text(runs.names[0])
    browser.screenshot(pictures(tmp_path) / "mlflow-interactive.png")


def test_metrics_are_in_groups_of_several(runs: Runs) -> None:
    """What stands before the slash is a section of MLflow's charts."""
    metrics = mlflow.MlflowClient(runs.server.uri).get_run(runs.good.run_id).data.metrics
    groups = Counter(name.partition("/")[0] for name in metrics)
    assert sorted(groups) == ["best", "cost", "fleet", "test", "time", "train", "val"]
    assert min(groups.values()) > 1, "no section for a single chart"


def test_the_registered_model_predicts_where_qfleet_is_not(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By ``mlflow models predict`` with an interpreter that can't import qfleet: the model's own code answers."""
    client = mlflow.MlflowClient(runs.server.uri)
    versions = {each.run_id: int(each.version) for each in client.search_model_versions("name = 'tumours'")}
    assert versions == {runs.good.run_id: 1, runs.poor.run_id: 2}
    asked = ["register", runs.good.folder.name, "--name", "tumours", "--alias", "champion"]
    for _ in range(2):  # once more changes nothing
        assert runs.qfleet(capsys, *asked)["model_uri"] == "models:/tumours@champion"
    assert len(client.search_model_versions("name = 'tumours'")) == 2
    data = load_breast_cancer(as_frame=True).data.iloc[:6]
    data[data.columns[::-1]].to_csv(tmp_path / "rows.csv", index=False)
    (tmp_path / "sitecustomize.py").write_text(textwrap.dedent(HIDE_QFLEET))
    environment = os.environ | {
        "PYTHONPATH": str(tmp_path), "MLFLOW_TRACKING_URI": runs.server.uri, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    }  # fmt: skip
    subprocess.run(
        [sys.executable, "-m", "mlflow", "models", "predict", "-m", "models:/tumours@champion", "-i", "rows.csv", "-t", "csv",
         "-o", "answers.json", "--env-manager", "local"],
        cwd=tmp_path, env=environment, check=True, timeout=240, capture_output=True,
    )  # fmt: skip
    answers = json.loads((tmp_path / "answers.json").read_text())["predictions"]
    assert [each["prediction"] for each in answers] == list(runs.good.predict(data.to_numpy()))
