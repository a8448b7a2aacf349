"""What ``qfleet continual`` does: read the options, learn the stream, print; and the same for a study that is resumed."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from orchestrator.config import TrainingConfig, actor_overrides

if TYPE_CHECKING:
    from pipelines.continual.settings import ContinualSettings
    from pipelines.continual.streams import Stream
    from pipelines.studies.folder import StudyFolder


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Learn the stream as the command line says. Returns what ``--json`` prints.

    Raises:
        InputError: refused before anything is written.
    """
    from pipelines.continual.settings import ContinualSettings

    actors = ["fleet.dispatcher=serial"] if options.actors is None else actor_overrides(options.actors)
    config = TrainingConfig.from_toml(options.config, [*options.set, *actors])
    settings = ContinualSettings(
        stream=options.stream,
        tasks=options.tasks,
        chunk=options.chunk,
        capacity=options.buffer,
        n_per_batch=options.replayed,
        passes=options.passes,
        compare=options.compare,
    )
    return continual(config, settings, to_stdout=not options.json)


def continual(
    config: TrainingConfig, settings: ContinualSettings, *, to_stdout: bool = False
) -> dict[str, Any]:
    """Learn a stream with replay and without, in a new study named ``run.name`` below ``run.directory``; the figures of it.

    Args:
        to_stdout: print the table there in place of stderr.

    Raises:
        InputError: refused before anything is written.
    """
    from pipelines.continual.study import KIND, open_stream
    from pipelines.studies.folder import StudyFolder

    stream = open_stream(config, settings)
    folder = StudyFolder.create(
        KIND, config, settings.to_json(), directory=config.run.directory, name=config.run.name
    )
    found = _finished(folder, settings, config, stream)
    _show(folder, found, to_stdout=to_stdout)
    return found


def resume(folder: StudyFolder, options: argparse.Namespace) -> dict[str, Any]:
    """Continue a study after its last chunk; one that has ended is printed again.

    Raises:
        CheckpointError: its data source has changed, or what it saved cannot be read.
    """
    from pipelines.continual.settings import ContinualSettings
    from pipelines.studies.reporting import resumed

    settings = ContinualSettings(**folder.asks)
    found = resumed(folder, options, lambda config: _finished(folder, settings, config, None))
    _show(folder, found, to_stdout=not options.json)
    return found


def _finished(
    folder: StudyFolder, settings: ContinualSettings, config: TrainingConfig, stream: Stream | None
) -> dict[str, Any]:
    """Learn what is left, on the fleet of `config`, and report."""
    from pipelines.continual.report import figures, final_metrics, markdown
    from pipelines.continual.study import ContinualStudy
    from pipelines.plots.continual import stream_scores
    from pipelines.studies.reporting import Reported, carried_out
    from pipelines.studies.study import Study

    def work(study: Study) -> Reported:
        outcome = ContinualStudy(study, settings, stream).run()
        found = figures(settings, outcome, folder.config.run.seed)
        plot = folder.artifacts / "continual.png"
        stream_scores(found, plot, title=folder.name)
        return Reported(markdown(folder.name, found, folder.handle), found, final_metrics(found), [plot])

    about = f"a stream ({settings.stream}) learnt with replay and without"
    return carried_out(folder, config, settings.to_json(), about, work)


def _show(folder: StudyFolder, found: dict[str, Any], *, to_stdout: bool) -> None:
    from pipelines.continual.report import sections
    from pipelines.display.formatting import from_here
    from pipelines.report import print_sections

    footer = [
        "intervals: bootstrap over the test rows; they say nothing of other seeds or streams",
        f"report, plot and trainers: {from_here(folder.path)}",
    ]
    print_sections(f"{folder.name}: continual learning", sections(found), footer, to_stdout=to_stdout)
