"""The recipe carried out: pre-train, test where it moves to, fine-tune there, and train there from the start to compare with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from orchestrator.config import TrainingConfig
from orchestrator.errors import CheckpointError, ExecutionError, QfleetError, StorageError
from pipelines.evaluate import score
from pipelines.finetune.figures import figures_of
from pipelines.finetune.report import answer, markdown
from pipelines.finetune.stages import Quote, Stages, check_spending, place_of, quoted
from pipelines.run_folder import RunFolder
from pipelines.run_setup import assemble, best_params, load_run
from pipelines.saved_run import connected_to
from pipelines.studies.fleet import StudyFleet
from pipelines.studies.folder import StudyFolder
from pipelines.studies.predictions import predictions_of, write_predictions
from pipelines.studies.study import Member, Study

KIND = "finetune"
PRETRAINED, TRANSFERRED, FINETUNED, SCRATCH = "pretrained", "pretrained-moved", "finetuned", "from-scratch"
_RECORD = "evaluation.json"


def finetune(
    stages: Stages,
    *,
    directory: str | Path | None = None,
    name: str | None = None,
    yes_spend_usd: float | None = None,
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Carry out a recipe, and measure it.

    Args:
        directory: that the study's folder is made in; None: ``run.directory``. name: of the study; None: made from the time.
        yes_spend_usd: dollars that all of it may cost. say: told in a line what happens; None: stderr.

    Returns:
        ``answer`` in words, ``scores`` by part, the paired ``comparisons``, what was ``saved``, and where the report is.

    Raises:
        InputError: before anything starts. QfleetError: a stage failed, its state saved. StudyInterrupted: Ctrl-C or SIGTERM.
    """
    quote = quoted(stages)
    check_spending(stages, yes_spend_usd)
    where = directory or stages.first.run.directory
    folder = StudyFolder.create(KIND, stages.first, stages.to_json(), directory=where, name=name)
    return carry_out(folder, stages, quote, yes_spend_usd=yes_spend_usd, say=say)


def is_done(folder: StudyFolder, stages: Stages) -> bool:
    """Every part has been trained or tested, so that nothing is left to pay for."""
    trained = [PRETRAINED, FINETUNED, *([] if stages.scratch is None else [SCRATCH])]
    is_tested = (folder.members / TRANSFERRED / _RECORD).is_file()
    return is_tested and all(RunFolder(folder.members / name).is_finished for name in trained)


def carry_out(
    folder: StudyFolder,
    stages: Stages,
    quote: Quote,
    *,
    yes_spend_usd: float | None = None,
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Do what has not been done yet, and report."""
    places = {"first": place_of(stages.first), "second": place_of(stages.second)}
    params = {
        "first.backend": places["first"], "second.backend": places["second"], "first.epochs": stages.first.run.epochs,
        "second.epochs": stages.second.run.epochs, "frozen": ", ".join(map(str, stages.second.model.frozen)) or "none",
    }  # fmt: skip
    description = f"pre-training on {places['first']}: {quote.pretrained.text}; then {places['second']}: {_on_second(stages, quote)}"
    with Study(folder, params=params, description=description, yes_spend_usd=yes_spend_usd, say=say) as study:
        study.say(f"{folder.name}: {description}")
        with StudyFleet(folder.path, study.say) as fleet:
            done = _stages(study, stages, fleet)
        figures = figures_of(done, {name: folder.members / name for name in done}, places)
        figures |= {"quote": quote.to_json(), "frozen": list(stages.second.model.frozen)}
        figures["answer"] = answer(figures, quote)
        return _reported(study, figures, quote)


def _on_second(stages: Stages, quote: Quote) -> str:
    """What each part there will take, in words: all that is run, not only what the recipe itself needs."""
    parts = [f"test {quote.transferred.text}", f"fine-tuning {quote.finetuned.text}"]
    return ", ".join(parts if stages.scratch is None else [*parts, f"from scratch {quote.from_scratch.text}"])


def _stages(study: Study, stages: Stages, fleet: StudyFleet) -> dict[str, dict[str, Any]]:
    """Every part's result, by name. Only the comparison from scratch may fail: the recipe stands without it."""
    n = 3 if stages.scratch is None else 4
    pretrained = _trained(study, PRETRAINED, stages.first, fleet, (1, n))
    moved = _moved(study, stages.second, pretrained)
    study.say(f"[2/{n}] {PRETRAINED} on {place_of(stages.second)}: {_scores(moved)}")
    model = stages.second.model.model_copy(update={"initial_run": str(pretrained.folder.path)})
    second = stages.second.model_copy(update={"model": model})
    finetuned = _trained(study, FINETUNED, second, fleet, (3, n))
    done = {PRETRAINED: pretrained.result, TRANSFERRED: moved, FINETUNED: finetuned.result}
    if stages.scratch is not None:
        try:
            done[SCRATCH] = _trained(study, SCRATCH, stages.scratch, fleet, (4, n)).result
        except StorageError:
            raise
        except QfleetError as error:
            study.say(f"[4/{n}] {SCRATCH} failed: {error}")
            done[SCRATCH] = {"failed": str(error)}
    return done


def _trained(
    study: Study, name: str, config: TrainingConfig, fleet: StudyFleet, place: tuple[int, int]
) -> Member:
    tags = {"stage": name, "backend.place": place_of(config)}
    where = None if RunFolder(study.folder.members / name).is_finished else fleet.of(config)
    member = study.train(name, config, tags=tags, fleet=where)
    if not member.folder.is_finished:
        raise ExecutionError(f"{name} stopped: {member.result.get('stop_reason')}")
    study.told(member, *place)
    return member


def _moved(study: Study, config: TrainingConfig, pretrained: Member) -> dict[str, Any]:
    """The pre-trained parameters tested as the second stage's circuits run, once: what was found is kept, and what was paid for it."""
    home = RunFolder(study.folder.members / TRANSFERRED)
    try:
        return home.read_json(_RECORD)
    except CheckpointError:
        home.path.mkdir(exist_ok=True)
    source, fingerprint = load_run(pretrained.folder)
    params, _ = best_params(pretrained.folder, source, fingerprint)
    config = config.with_overrides(
        ["fleet.dispatcher=serial", "fleet.name=none"]
    )  # too few circuits for a fleet
    run = assemble(config, source.task.model, source.data)
    with connected_to(config, home, [run.task.model.measured], study.allowed_usd(TRANSFERRED)) as coordinator:
        scores = score(run, config, params, coordinator, "test")
    write_predictions(home, predictions_of(run, scores))
    used = scores.used
    record = {
        "metrics": scores.metrics, "circuits": used.n_circuits, "shots": used.n_shots, "cost_usd": used.cost_usd
    }  # fmt: skip
    home.write_json(_RECORD, record)
    return record


def _scores(result: Mapping[str, Any]) -> str:
    from pipelines.display.formatting import format_metric

    named = {key: value for key, value in result["metrics"].items() if key.startswith("test/")}
    return ", ".join(f"{key} {format_metric(key, value)}" for key, value in named.items())


def _reported(study: Study, figures: dict[str, Any], quote: Quote) -> dict[str, Any]:
    from pipelines.plots.transfer import transfer

    picture = study.folder.artifacts / "transfer.png"
    transfer(figures, picture, title=study.folder.name)
    metrics = {
        f"{part}/{name}": value
        for part, scores in figures["scores"].items()
        for name, value in scores["metrics"].items()
        if name.startswith("test/")
    }
    metrics |= {f"gap/{name}": one["difference"] for name, one in figures["comparisons"].items()}
    metrics |= {f"saved/{name}": value for name, value in figures["saved"].items() if value is not None}
    study.tracker.set_tags({"finetune.second": figures["places"]["second"]})
    report = markdown(figures, quote, study.folder.handle)
    return study.finish(report, figures, metrics, [picture])
