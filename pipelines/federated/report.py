"""What is said of a federated training: figures for machines, a table for people, a page for MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pipelines.display.formatting import format_count, format_metric, qfleet_command
from pipelines.federated.server import Round
from pipelines.federated.settings import FederatedSettings
from pipelines.federated.study import Outcome, central_validation
from pipelines.merits import gain, score_name, score_of
from pipelines.report import Sections
from pipelines.result import params_sha256

LEAKS = {
    "stay": "raw rows",
    "leave": "counts of rows and classes; means, products, least and greatest values of columns (for preprocessing); parameters and losses "
    "in every round; scores of single test rows",
    "privacy": "none is guaranteed: parameters can reveal training rows (Zhu, Liu and Han, arXiv 1906.08935), and so can statistics of a "
    "small shard",
}
"""What leaves the actors, in words."""
COLUMNS = "alone: a client's own training, on all test rows; own: on its own test rows, and the federated model there"
_MOST_CLASSES = 4
"""Classes whose counts are printed one by one."""


def figures(settings: FederatedSettings, outcome: Outcome, seed: int) -> dict[str, Any]:
    """All of it as plain values. `seed`: of the bootstrap."""
    is_classes = outcome.federation.class_names is not None
    name = score_name(is_classes)
    rounds = outcome.progress.rounds
    n_rows = sum(sum(outcome.federation.rows(split)) for split in ("train", "validation", "test"))
    found: dict[str, Any] = {
        "settings": settings.to_json(),
        "score": name,
        "clients": _clients(outcome, is_classes),
        "rounds": [_round(one, is_classes) for one in rounds],
        "best_round": outcome.progress.best_round,
        "params_sha256": params_sha256(outcome.progress.params),
        "best_params_sha256": params_sha256(outcome.progress.best_params),
        "bytes": {
            "setup": outcome.federation.setup_bytes,
            "down": sum(one.bytes_down for one in rounds),
            "up": sum(one.bytes_up for one in rounds),
            "raw_rows": 8 * n_rows * (1 + len(outcome.federation.feature_names)),
        },
        "circuits": outcome.n_circuits,
        "lost": sum(len(one.lost) for one in rounds),
        "test": _test(outcome, name, is_classes, seed) if len(outcome.merits) else None,
        "central_validation": central_validation(outcome, name),
        "leaks": LEAKS,
    }
    return found


def _clients(outcome: Outcome, is_classes: bool) -> list[dict[str, Any]]:
    """Rows of each client, and how the models do on its own test rows."""
    found = []
    for client in sorted(outcome.federation.about):
        about, mine = outcome.federation.about[client], outcome.owner == client
        row: dict[str, Any] = {"client": client, "rows": dict(about["rows"])}
        if is_classes:
            row["train_classes"] = np.asarray(about["class_counts"])[0].tolist()
        if mine.any():
            row["own_test"] = {"federated": score_of(float(outcome.merits[mine].mean()), is_classes)}
            if outcome.alone is not None:
                own = outcome.alone[client][mine]
                row["own_test"]["alone"] = score_of(float(own.mean()), is_classes)
        if outcome.alone is not None and len(outcome.merits):
            row["alone"] = score_of(float(outcome.alone[client].mean()), is_classes)
        found.append(row)
    return found


def _round(one: Round, is_classes: bool) -> dict[str, Any]:
    return {
        "round": one.number,
        "clients": list(one.answered),
        "lost": list(one.lost),
        "train_loss": one.train_loss,
        "val_loss": one.val_loss if one.val_n else None,
        "val_score": score_of(one.val_merit, is_classes) if one.val_n else None,
        "bytes": one.bytes_down + one.bytes_up,
        "circuits": one.circuits,
    }


def _test(outcome: Outcome, name: str, is_classes: bool, seed: int) -> dict[str, Any]:
    """Scores on the whole test split, and the gains over the others, paired by test row."""
    merits = outcome.merits
    found: dict[str, Any] = {
        "rows": len(merits),
        "loss": outcome.losses,
        name: {"federated": score_of(float(merits.mean()), is_classes)},
    }
    if outcome.central is not None:
        found[name]["central"] = score_of(float(outcome.central.mean()), is_classes)
        found["against_central"] = gain(merits, outcome.central, seed)
    if outcome.alone is not None:
        each = [score_of(float(one.mean()), is_classes) for one in outcome.alone]
        found[name] |= {"alone_mean": float(np.mean(each)), "alone_worst": _worst(each, is_classes)}
        found[name]["alone_best"] = _worst(each, not is_classes)
        found["against_alone"] = gain(merits, outcome.alone.mean(axis=0), seed)
    return found


def _worst(scores: list[float], is_classes: bool) -> float:
    return min(scores) if is_classes else max(scores)


def sections(found: Mapping[str, Any]) -> Sections:
    """The table."""
    rounds, n_bytes, settings = found["rounds"], found["bytes"], found["settings"]
    table: dict[str, dict[str, str | Mapping[str, str]]] = {}
    if found["test"] is not None:
        table["Test split"] = dict(_scores(found))
    table["Clients"] = {f"client {one['client']}": _client(one, found["score"]) for one in found["clients"]}
    answered = [len(one["clients"]) for one in rounds]
    table["Rounds"] = {
        "rounds": f"{len(rounds)} of {settings['local_epochs']} local epochs each; the best is number {found['best_round']}",
        "clients that answered": f"{min(answered)} to {max(answered)} of {settings['clients']}; {found['lost']} answers lost",
        "exchanged": f"{_size(n_bytes['down'])} to clients, {_size(n_bytes['up'])} back, {_size(n_bytes['setup'])} for preprocessing; "
        f"the raw rows are {_size(n_bytes['raw_rows'])}",
        "circuits": ", ".join(f"{name} {format_count(n)}" for name, n in found["circuits"].items() if n),
    }
    table["What leaves the actors"] = dict(found["leaks"])
    return table


def _scores(found: Mapping[str, Any]) -> dict[str, str]:
    name, test = found["score"], found["test"]
    scores = test[name]
    rows = {"federated": f"{name} {format_metric(name, scores['federated'])}, {test['rows']} rows"}
    if "central" in scores:
        rows["central, same passes"] = _against(name, scores["central"], test["against_central"])
    if "alone_mean" in scores:
        worst, best = (format_metric(name, scores[key]) for key in ("alone_worst", "alone_best"))
        against = _against(name, scores["alone_mean"], test["against_alone"])
        rows["each client alone, mean"] = f"{against}; alone {worst} to {best}"
    return rows


def _against(name: str, score: float, gained: Mapping[str, float]) -> str:
    if name == "accuracy":
        by, low, high = (f"{100 * gained[key]:+.1f} %" for key in ("difference", "low", "high"))
    else:
        by, low, high = (f"{gained[key]:+.3g}" for key in ("difference", "low", "high"))
    what = "federated" if name == "accuracy" else "squared error less by"
    return f"{format_metric(name, score)}; {what} {by} ({low} to {high}): {verdict(gained)}"


def verdict(gained: Mapping[str, float]) -> str:
    """Of a gain of the federated model with its interval, in words."""
    if gained["low"] > 0:
        return "federated is better"
    return "federated is worse" if gained["high"] < 0 else "no difference seen"


def _client(one: Mapping[str, Any], name: str) -> dict[str, str]:
    """Of a client: its training rows; its own model on all test rows; both models on its own ones."""
    cells = {"rows": str(one["rows"]["train"])}
    counts = one.get("train_classes", [])
    if counts:
        is_short = len(counts) <= _MOST_CLASSES
        present = f"{sum(n > 0 for n in counts)} of {len(counts)}"
        cells["classes"] = "/".join(map(str, counts)) if is_short else present
    if "alone" in one:
        cells["alone"] = format_metric(name, one["alone"])
    for model, label in (("alone", "own: alone"), ("federated", "own: fed.")):
        if model in one.get("own_test", {}):
            cells[label] = format_metric(name, one["own_test"][model])
    return cells


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e3:.1f} kB" if n_bytes < 1e6 else f"{n_bytes / 1e6:.1f} MB"


def markdown(title: str, found: Mapping[str, Any], handle: str) -> str:
    """The page."""
    settings = found["settings"]
    lines = [
        f"# {title}: federated averaging over {settings['clients']} clients, split {settings['split']}",
        "",
    ]
    if found["test"] is not None:
        lines += [f"- **{label}**: {text}" for label, text in _scores(found).items()]
        lines += [
            "",
            "Intervals: 95 %, bootstrap over the test rows; they say nothing of other seeds or deals.",
            "",
        ]
    columns = list(dict.fromkeys(key for one in found["clients"] for key in _client(one, found["score"])))
    lines += [f"| client | {' | '.join(columns)} |", "|" + "---|" * (1 + len(columns))]
    for one in found["clients"]:
        cells = _client(one, found["score"])
        lines.append(f"| {one['client']} | {' | '.join(cells.get(column, '–') for column in columns)} |")
    table = sections(found)["Rounds"]
    leaks = [f"- what may {label}: {text}" for label, text in found["leaks"].items() if label != "privacy"]
    lines += [
        "",
        *(f"- {label}: {text}" for label, text in table.items()),
        *leaks,
        "",
        f"Privacy: {found['leaks']['privacy']}.",
    ]
    lines += ["", COLUMNS]
    return "\n".join([*lines, "", f"Again: `{qfleet_command('resume', handle)}`"]) + "\n"


def final_metrics(found: Mapping[str, Any]) -> dict[str, float]:
    """What the parent run at MLflow is compared by."""
    metrics = {f"bytes/{name}": float(n) for name, n in found["bytes"].items()}
    metrics |= {f"circuits/{name}": float(n) for name, n in found["circuits"].items()}
    if found["test"] is not None:
        test = found["test"]
        metrics |= {f"test/{name}": score for name, score in _flat(test[found["score"]], found["score"])}
        metrics |= {"test/loss": test["loss"]["federated"]}
        for against in ("against_central", "against_alone"):
            metrics |= {f"{against}/{key}": value for key, value in test.get(against, {}).items()}
    return metrics


def _flat(scores: Mapping[str, float], name: str) -> list[tuple[str, float]]:
    """``accuracy`` is the federated model's, ``central_accuracy`` and the like the others'."""
    return [(name if who == "federated" else f"{who}_{name}", score) for who, score in scores.items()]
