"""What a recipe says to people: a few sentences, tables on the terminal, and a Markdown report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.compare.report import difference_text, interval_text, p_text
from pipelines.display.formatting import (
    format_count,
    format_duration,
    format_metric,
    format_usd,
    format_value,
    metric_label,
    qfleet_command,
)
from pipelines.finetune.stages import Quote
from pipelines.studies.beforehand import Expected
from pipelines.studies.markdown import table

Figures = Mapping[str, Any]
_NAMES = {
    "pretrained": "pre-trained",
    "pretrained-moved": "pre-trained, moved",
    "finetuned": "fine-tuned",
    "from-scratch": "from scratch",
}
_ASKED = {
    "transfer": "lost by moving",
    "finetuning": "won back by fine-tuning",
    "recipe": "fine-tuned over from scratch",
}


def answer(found: Figures, quote: Quote) -> str:
    """What the move cost, what fine-tuning won back, and what the recipe saved."""
    return " ".join(sentences(found, quote).values())


def sentences(found: Figures, quote: Quote) -> dict[str, str]:
    """The answer in parts, by what each is about."""
    pairs, merit = found["comparisons"], found["merit"]
    second = found["places"]["second"]
    said = {}
    if "transfer" in pairs:
        loss, losses = _amount(merit, pairs["transfer"]), _losses(found, "pretrained", "pretrained-moved")
        first = found["places"]["first"]
        said["moving"] = f"Moving from {first} to {second} cost {loss} of test {_measure(merit)}{losses}."
    if "finetuning" in pairs:
        frozen = f", {', '.join(map(str, found['frozen']))} frozen," if found["frozen"] else ""
        gain, losses = _amount(merit, pairs["finetuning"]), _losses(found, "pretrained-moved", "finetuned")
        said["fine-tuning"] = f"Fine-tuning there{frozen} won back {gain}{losses}."
    said |= _against_scratch(found, quote)
    for name, why in found["failed"].items():
        said["failed"] = f"{_NAMES[name]} failed: {why}."
    return said


def _against_scratch(found: Figures, quote: Quote) -> dict[str, str]:
    """The recipe beside training on the second backend from the start, trained or only quoted."""
    pair, merit, second = found["comparisons"].get("recipe"), found["merit"], found["places"]["second"]
    if pair is None:
        spared = _spared(quote.finetuned, quote.from_scratch)
        return {
            "saved": f"Training on {second} from the start was not tried; by the quote the recipe takes {spared} of that."
        }
    scores = found["scores"]
    ours, theirs = (scores[name] for name in ("finetuned", "from-scratch"))
    ratio = _ratio(ours["circuits"], theirs["circuits"])
    dollars = (
        f" and {_ratio(ours['cost_usd'], theirs['cost_usd'])} of the dollars" if theirs["cost_usd"] else ""
    )
    return {
        "saved": f"Training on {second} from the start reached {format_metric(merit, theirs['metrics'][merit])}; the recipe is ahead by "
        f"{_amount(merit, pair)}, with {ratio} of the circuits{dollars} on that backend."
    }


def _losses(found: Figures, before: str, after: str) -> str:
    """From which test loss to which: it moves where an accuracy does not."""
    parts = [found["scores"][name]["metrics"].get("test/loss") for name in (before, after)]
    if None in parts:
        return ""
    return f"; the test loss went from {format_value(parts[0])} to {format_value(parts[1])}"


def _spared(ours: Expected, theirs: Expected) -> str:
    dollars = ""
    if ours.most_usd is not None and theirs.most_usd:
        dollars = f" and {_ratio(ours.most_usd, theirs.most_usd)} of the dollars"
    return f"{_ratio(ours.circuits, theirs.circuits)} of the circuits{dollars}"


def _ratio(ours: float, theirs: float) -> str:
    return f"{100 * ours / theirs:.3g} %" if theirs else "–"


def _measure(merit: str) -> str:
    return "squared error" if merit.endswith("rmse") else metric_label(merit)


def _amount(merit: str, pair: Figures) -> str:
    """A difference with its interval, and whether it is more than chance."""
    unit = " points" if merit.endswith("accuracy") else ""
    if pair["difference"] == 0 and pair["low"] == pair["high"]:
        return f"{difference_text(merit, 0.0)}{unit} (no test sample came out otherwise)"
    verdict = "more than chance" if pair["differs"] else "that may be chance"
    size = difference_text(merit, pair["difference"]).lstrip("+")
    return (
        f"{size}{unit} (95 % interval {interval_text(merit, pair)}, p = {p_text(pair['p_holm'])}: {verdict})"
    )


def rows_of(found: Figures) -> dict[str, dict[str, str]]:
    """A line for each part."""
    places = found["places"]
    has_dollars = any(part["cost_usd"] for part in found["scores"].values())
    rows = {}
    for name, part in found["scores"].items():
        line = {"on": places["first" if name == "pretrained" else "second"]}
        for metric, value in part["metrics"].items():
            if metric.startswith("test/"):
                line[metric.replace("/", " ").replace("_", " ")] = format_metric(metric, value)
        line["circuits"] = format_count(part["circuits"])
        if has_dollars:
            line["dollars"] = format_usd(part["cost_usd"])
        line["time"] = "–" if part["seconds"] is None else format_duration(part["seconds"])
        rows[_NAMES[name]] = line
    return rows


def pair_rows(found: Figures) -> dict[str, dict[str, str]]:
    """A line for each comparison."""
    merit = found["merit"]
    unit = "points" if merit.endswith("accuracy") else _measure(merit)
    return {
        _ASKED[name]: {
            unit: difference_text(merit, pair["difference"]),
            "95 % interval": interval_text(merit, pair),
            "p": p_text(pair["p"]),
            "p (Holm)": p_text(pair["p_holm"]) + (" !" if pair["differs"] else ""),
        }
        for name, pair in found["comparisons"].items()
    }


def quote_rows(quote: Quote) -> dict[str, dict[str, str]]:
    """Both ways, before anything is run."""
    parts = {
        "pre-training": quote.pretrained, "test after the move": quote.transferred, "fine-tuning": quote.finetuned,
        "from scratch": quote.from_scratch,
    }  # fmt: skip
    rows = {
        name: {
            "circuits": format_count(one.circuits),
            "shots": format_count(one.shots),
            "dollars": one.usd_text,
        }
        for name, one in parts.items()
    }
    if not any(one.is_paid for one in parts.values()):
        for row in rows.values():
            del row["dollars"]
    return rows


def quote_text(quote: Quote) -> str:
    """What the recipe saves, by the quote."""
    return f"fine-tuning takes {_spared(quote.finetuned, quote.from_scratch)} that training there from the start does"


def sections(found: Figures, quote: Quote) -> dict[str, dict[str, Any]]:
    """For the terminal."""
    return {
        "Answer": dict(sentences(found, quote)),
        "Scores": {
            name: {head: text for head, text in row.items() if head != "on"}
            for name, row in rows_of(found).items()
        },
        "Differences": pair_rows(found),
        "Beforehand": quote_rows(quote),
    }


def markdown(found: Figures, quote: Quote, handle: str) -> str:
    """The report: the answer first."""
    first, *others = sentences(found, quote).values()
    lines = [f"**{first}** {' '.join(others)}".rstrip(), "", "### Scores", ""]
    lines += table("", rows_of(found))
    if found["comparisons"]:
        lines += ["", "### Differences", "", *table("", pair_rows(found))]
        lines += ["", f"{METHOD}; ! differs."]
    lines += ["", "### Quoted beforehand", "", *table("", quote_rows(quote))]
    lines += [
        "",
        f"Evaluate a part: `{qfleet_command('evaluate', f'{handle}/members/finetuned')}`. Picture: `transfer.png`.",
    ]
    return "\n".join(lines) + "\n"


METHOD = (
    "Paired over the test samples (McNemar's exact test for classes, else the paired t-test; intervals by bootstrap for classes); "
    "p corrected by Holm. They say nothing of another training: that takes more seeds"
)
