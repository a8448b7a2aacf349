"""The tables of ``qfleet benchmark source``: rows as plain values, as Markdown, and as sections for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.benchmark.source_configs_claims import DOCUMENTS, IONQ_CLAIMS, Claim, SourceConfiguration
from pipelines.benchmark.source_configs_data import BEST_POSSIBLE, BUILT_IN, GENERATED, N_TEST
from pipelines.benchmark.source_configs_runs import TimedMember
from pipelines.display.formatting import format_count, format_duration, format_rate, format_usd
from pipelines.evaluate.intervals import wilson

Row = Mapping[str, Any]

TARGET = "qpu.aria-1"
DESCRIPTION = "The source documents' own configurations, trained here beside what the documents say of them."
COMPARABILITY = (
    "The documents time a library that sends circuits to a cloud service, or to mock backends with a stated time a circuit; here the same "
    "sizes are simulated exactly on this machine. So the times are no like-for-like comparison: they say what such a training takes here. "
    "What a service's latency adds is measured with `--emulator-latency`."
)
FOOTER = [
    "claimed: the source documents' figures, document:line; whole: of the command; no like-for-like comparison",
    f"test: accuracy with its 95 % interval (Wilson); on the generated data {BEST_POSSIBLE:.3f} is the most there is to learn",
]


def row(
    one: SourceConfiguration, runs: Mapping[str, Mapping[str, TimedMember]], charge: Mapping[str, Any] | None
) -> dict[str, Any]:
    """One configuration, as plain values.

    Args:
        runs: data -> "warm", and "cold" where that was asked for. charge: of `TARGET` for the training.
    """
    return {
        "name": one.name,
        "words": one.words,
        "qubits": one.n_qubits,
        "layers": one.n_layers,
        "samples": one.n_samples,
        "epochs": one.epochs,
        "batch_size": one.batch_size,
        "rule": one.rule,
        "ansatz": one.ansatz,
        "backend": one.backend,
        "assumed": list(one.assumed),
        "claimed_times": [_claim(each) for each in one.times],
        "claimed_dollars": [_claim(each) for each in one.dollars],
        "claimed_losses": list(one.losses),
        "claimed_circuits": one.circuits,
        "charge": None if charge is None else dict(charge),
        "runs": {data: _run(data, by_start) for data, by_start in runs.items()},
    }


def metrics(rows: Sequence[Row]) -> dict[str, float]:
    """Of the parent run."""
    found: dict[str, float] = {}
    for each in rows:
        generated = each["runs"][GENERATED]
        for what in ("accuracy", "training_seconds", "command_seconds"):
            if generated.get(what) is not None:
                found[f"{each['name']}/{what}"] = float(generated[what])
    return found


def markdown(outcome: Mapping[str, Any]) -> str:
    """All tables."""
    rows = outcome["rows"]
    load, cores = outcome["machine"]["load_average"], outcome["machine"]["cores"]
    parts = [
        f"{outcome['machine']['cpu']}, {cores} cores, {outcome['machine']['system']}; Python {outcome['machine']['python']}; load average "
        f"{load} before the first training.",
        COMPARABILITY,
        _table(
            ["configuration", "trained as", "claimed", "whole command", "of it training", "training, warm", "circuits", "circuits/s, warm"],
            [_times(each) for each in rows], left=3,
        ),
        _table(
            ["configuration", "claimed final loss", "final loss", f"test accuracy, {GENERATED}", f"test accuracy, {BUILT_IN}"],
            [_scores(each) for each in rows], left=2,
        ),
        _table(
            ["configuration", "claimed circuits", "circuits of the training", "claimed cost", f"{TARGET} would charge"],
            [_costs(each) for each in rows], left=2,
        ),
        _table(
            ["one sample, 4 qubits, 2 layers", "claimed", "measured"],
            [[name, f"{each['claimed']} ({each['place']})", _time(each["seconds"])] for name, each in outcome["operations"].items()],
            left=2,
        ),
        _notes(rows),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def sections(outcome: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The same for a terminal, in short."""
    found: dict[str, dict[str, Any]] = {"Times": {}, "Scores and costs": {}}
    for each in outcome["rows"]:
        cells = _times(each)
        found["Times"][each["name"]] = {
            "claimed": cells[2].replace("<br>", ", "),
            "whole": cells[3],
            "training": cells[4],
            "warm": cells[5],
        }
        found["Scores and costs"][each["name"]] = {
            "test": _accuracy(each["runs"][GENERATED]),
            "built-in": _accuracy(each["runs"].get(BUILT_IN)),
            "circuits": cells[6],
            "aria-1": _charged(each),
        }
    found["One sample"] = {
        name: {"claimed": each["claimed"], "measured": _time(each["seconds"])}
        for name, each in outcome["operations"].items()
    }
    return found


def _claim(claim: Claim) -> dict[str, Any]:
    return {"text": claim.text, "place": claim.place, "low": claim.low, "high": claim.high}


def _run(data: str, by_start: Mapping[str, TimedMember]) -> dict[str, Any]:
    warm, cold = by_start["warm"], by_start.get("cold")
    result = warm.member.result
    accuracy, n_test = warm.member.metrics["test/accuracy"], N_TEST[data]
    low, high = wilson(round(accuracy * n_test), n_test)
    return {
        "accuracy": accuracy,
        "accuracy_low": low,
        "accuracy_high": high,
        "test_samples": n_test,
        "final_loss": result["final_loss"],
        "circuits": warm.member.n_circuits,
        "training_seconds": warm.training_seconds,
        "fit_seconds": warm.seconds,
        "circuits_per_second": None if warm.training_seconds is None else result["circuits_per_second"],
        "command_seconds": None if cold is None else cold.seconds,
        "command_training_seconds": None if cold is None else cold.training_seconds,
    }


def _times(each: Row) -> list[str]:
    found = each["runs"][GENERATED]
    rate = found["circuits_per_second"]
    return [
        f"{each['words']}: {each['qubits']} qubits, {each['layers']} layers, {each['samples']} samples, {each['epochs']} epochs",
        f"{each['rule'].replace('_', ' ')}, {each['backend']}",
        "<br>".join(f"{claim['text']} ({claim['place']})" for claim in each["claimed_times"]),
        _time(found["command_seconds"]),
        _time(found["command_training_seconds"]),
        _time(found["training_seconds"]),
        format_count(found["circuits"]),
        "–" if rate is None else format_rate(rate, 1.0),
    ]


def _scores(each: Row) -> list[str]:
    return [
        each["words"],
        "<br>".join(each["claimed_losses"]) or "–",
        f"{each['runs'][GENERATED]['final_loss']:.3f}",
        _accuracy(each["runs"][GENERATED]),
        _accuracy(each["runs"].get(BUILT_IN)),
    ]


def _costs(each: Row) -> list[str]:
    charge = each["charge"]
    return [
        each["words"],
        each["claimed_circuits"] or "–",
        "–" if charge is None else f"{charge['circuits']:,}",
        "<br>".join(f"{claim['text']} ({claim['place']})" for claim in each["claimed_dollars"]) or "–",
        _charged(each),
    ]


def _charged(each: Row) -> str:
    return "–" if each["charge"] is None else format_usd(each["charge"]["usd"])


def _accuracy(found: Row | None) -> str:
    if found is None:
        return "–"
    return f"{found['accuracy']:.3f} [{found['accuracy_low']:.2f}, {found['accuracy_high']:.2f}]"


def _time(seconds: float | None) -> str:
    """A dash where it was not measured, or interrupted; two digits that count below ten milliseconds."""
    if seconds is None:
        return "–"
    return f"{1e3 * seconds:.2g} ms" if seconds < 0.01 else format_duration(seconds)


def _notes(rows: Sequence[Row]) -> str:
    """What the figures mean, and what the documents leave open."""
    charges = [each["charge"] for each in rows if each["charge"] is not None]
    shots = charges[0]["shots"] if charges else 0
    services = [f"{one.time.text} and {one.dollars.text} on a {name}" for name, one in IONQ_CLAIMS.items()]
    lines = [
        f"- claimed: document:line of {', '.join(f'{number} ({name})' for number, name in DOCUMENTS.items())}.",
        "- final loss: mean binary cross-entropy over the last epoch's steps; the documents do not say of which loss theirs is.",
        f"- test accuracy: of {N_TEST[GENERATED]} and {N_TEST[BUILT_IN]} samples, with the 95 % interval (Wilson) over draws of test "
        f"samples; on the generated data {BEST_POSSIBLE:.3f} is the most there is to learn.",
        f"- would charge: list price of {TARGET} for the circuits of the training, {shots:,} shots each, without the provider's error "
        "mitigation; the minimum for every circuit is read as added to its gates, as qfleet quote does. Test circuits are left out.",
        f"- of a training on IonQ, whose size it does not give, document 0 says {', '.join(services)} (0:56, 0:57); IonQ's simulator is "
        "free of charge. What document 1 times are images, which are not repeated here.",
    ]  # fmt: skip
    open_points = [f"{each['words']}: {', '.join(each['assumed'])}" for each in rows if each["assumed"]]
    if open_points:
        lines.append(f"- left open by the documents, and our choice: {'; '.join(open_points)}.")
    return "\n".join(lines)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, left: int) -> str:
    """Markdown; the first `left` columns to the left, all others to the right."""
    rule = ["---" if i < left else "---:" for i in range(len(heads))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [heads, rule, *rows])
