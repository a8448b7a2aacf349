"""``qfleet submit``: what is sent, under which id, and what is refused before anything is."""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
from pathlib import Path

import pytest

from actors.cluster_jobs import RUN_KEY
from orchestrator.errors import ConfigError, InputError
from pipelines import cli
from pipelines.launch.arguments import SUBMITTABLE, split
from pipelines.launch.request import Plan, plan_of
from pipelines.launch.working_dir import EXCLUDES, is_excluded, size_warning

ROOT = Path(__file__).parents[2]
EXAMPLE = "pipelines/configs/breast_cancer.toml"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a configuration in it, as the current one."""
    folder = tmp_path / "checkout"
    (folder / "pipelines" / "configs").mkdir(parents=True)
    shutil.copy(ROOT / EXAMPLE, folder / EXAMPLE)
    monkeypatch.chdir(folder)
    return folder


def plan(line: str, environment: dict[str, str] | None = None) -> Plan:
    """The plan of ``qfleet submit <line>``, as the command makes it."""
    options = cli.parsed(["submit", *shlex.split(line)])
    own, command_line = split(options.command, options.arguments)
    vars(options).update(vars(own))
    return plan_of(options, command_line, environment or {})


def train(*more: str) -> str:
    return shlex.join(["train", EXAMPLE, "--set", "run.directory=/shared/runs", *more])


def job_of(made: Plan, attempt: int = 1) -> argparse.Namespace:
    """What the cluster's side understands of the entrypoint: our own parser, after the shell."""
    words = shlex.split(made.request(attempt).entrypoint)
    assert words[:3] == ["python", "-m", "pipelines.launch.start"]
    return cli.parsed(words[3:])


def test_the_cluster_understands_what_was_meant(checkout: Path) -> None:
    made = plan(
        train("--set", "run.name=a", "--set", "tracking.tags={team='x y'}", "--follow", "--actors", "4")
    )
    job = job_of(made)
    assert (job.module, job.config, job.actors) == ("pipelines.train", EXAMPLE, 4)
    assert "tracking.tags={team='x y'}" in job.set
    assert made.request().working_dir == str(checkout)
    assert made.request().metadata[RUN_KEY] == "a"


@pytest.mark.parametrize("options", ["--follow --address http://h:1 --exclude big/", "--follow=no"])
def test_options_of_submit_may_stand_anywhere(checkout: Path, options: str) -> None:
    if "=no" in options:
        with pytest.raises(SystemExit):
            plan(f"{train()} {options}")
        return
    assert plan(f"{options} {train()}").request() == plan(f"{train()} {options}").request()
    assert "big/" in plan(f"{train()} {options}").excludes


def test_the_same_content_has_the_same_id_and_another_has_another(checkout: Path) -> None:
    made = plan(train())
    assert plan(train()).request() == made.request()
    assert plan(train(), {"IONQ_API_KEY": "x", "HOME": "/h"}).id() == made.id()
    by_path = shlex.join(["train", str(checkout / EXAMPLE), "--set", "run.directory=/shared/runs"])
    assert plan(by_path).request() == made.request()
    others = [
        train("--set", "run.seed=8"),
        train("--actors", "4"),
        train("--set", "run.name=b"),
        f"train {EXAMPLE} --set run.directory=/other",
        f"kernel {EXAMPLE}",
        "resume a --directory /shared/runs",
        "resume a --directory /other",
    ]
    assert len({made.id(), *(plan(other).id() for other in others)}) == len(others) + 1
    assert all(cli.parsed(["jobs", "logs", plan(other).id()]).job for other in others)


def test_a_run_without_a_name_gets_one_that_its_resume_can_say(checkout: Path) -> None:
    made = plan(train())
    assert job_of(made).set[-1] == f"run.name={made.run_name()}"
    assert made.request().metadata[RUN_KEY] == made.run_name()
    # Another attempt is another job and, since the name was not asked for, another run
    assert made.id(2) == f"{made.id()}-2"
    assert job_of(made, 2).set[-1] == f"run.name={made.run_name(2)}" != job_of(made).set[-1]
    named = plan(train("--set", "run.name=mine"))
    assert named.request(1).entrypoint == named.request(2).entrypoint
    assert named.run_name(2) == "mine"


def test_a_study_without_a_name_gets_one_and_its_files_go_with_it(checkout: Path) -> None:
    made = plan(f"compare {EXAMPLE} --vary model.n_layers=1,2 --directory /shared/runs")
    assert job_of(made).name == made.run_name() == made.request().metadata[RUN_KEY]
    assert job_of(made, 2).name == made.run_name(2)
    assert (made.directory, job_of(made).vary) == ("/shared/runs", ["model.n_layers=1,2"])
    assert made.env_vars["MLFLOW_TRACKING_URI"] == "sqlite:////shared/runs/mlflow.db"
    named = plan(f"compare {EXAMPLE} --vary model.n_layers=1,2 --set run.directory=/shared/runs --name mine")
    assert (named.run_name(2), job_of(named, 2).name) == ("mine", "mine")
    (checkout / "second.toml").write_text("")
    for option in (
        f"--then {checkout / 'second.toml'}",
        f"--then={checkout / 'second.toml'}",
        "--then second.toml",
    ):
        recipe = plan(f"finetune {EXAMPLE} {option} --directory /shared/runs")
        assert job_of(recipe).then == "second.toml"


def test_a_benchmark_is_a_job_whether_it_makes_a_study_or_not(checkout: Path) -> None:
    made = plan("benchmark source --configuration after --directory /shared/runs")
    assert job_of(made).name == made.run_name() == made.request().metadata[RUN_KEY] != job_of(made, 2).name
    assert made.env_vars["MLFLOW_TRACKING_URI"] == "sqlite:////shared/runs/mlflow.db"
    named = plan("benchmark source --name mine --directory /shared/runs")
    assert (job_of(named).name, job_of(named, 2).name) == ("mine", "mine")
    assert job_of(plan("benchmark engine --workload W1")).what == "engine"
    assert job_of(plan(f"benchmark overhead {EXAMPLE} --steps 5")).config == EXAMPLE
    assert job_of(plan("benchmark overhead --steps 5")).config is None


def test_a_model_of_mlflow_is_evaluated_under_a_name_that_a_job_can_have(checkout: Path) -> None:
    line = "evaluate models:/flowers@champion --data iris --directory /shared/runs --tracking-uri"
    made = plan(f"{line} http://mlflow:5000")
    assert made.id().startswith("qfleet-evaluate-models-flowers-champion-")
    assert job_of(made).run == "models:/flowers@champion"
    assert made.env_vars["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"
    with pytest.raises(ConfigError, match="copy of the working directory"):
        plan(f"{line} sqlite:///mlflow.db")


def test_registering_makes_no_study(checkout: Path) -> None:
    assert job_of(plan("register one --name tumours --directory /shared/runs"), 2).name == "tumours"


@pytest.mark.parametrize(
    ("line", "named", "near"),
    [
        ("benchmark source", "--directory = 'runs'", "/checkout/runs'?"),
        ("benchmark engine --plot figures", "--plot = 'figures'", "/checkout/figures'?"),
        (f"compare {EXAMPLE} --vary model.n_layers=1,2", "run.directory = 'runs'", "/checkout/runs'?"),
        (f"compare {EXAMPLE} --directory runs", "--directory = 'runs'", "/checkout/runs'?"),
        (f"finetune {EXAMPLE} --then secnd.toml --directory /r", "config = 'secnd.toml'", "no such file"),
        (f"train {EXAMPLE}", "run.directory = 'runs'", "/checkout/runs'?"),
        ("resume a", "--directory = 'runs'", "/checkout/runs'?"),
        ("resume latest --directory /shared/runs", "latest", "name the run"),
        (train("--log-file", "a.log"), "--log-file = 'a.log'", "/checkout/a.log'?"),
        ("reconstruct a --directory /r --output a.csv", "--output = 'a.csv'", "/checkout/a.csv'?"),
        ("trian x.toml", "COMMAND = 'trian'", "did you mean 'train'?"),
        ("emulator", "COMMAND = 'emulator'", "must be one of"),
        (train("--set", "run.epochs=0"), "run.epochs = 0", "1"),
        ("train pipelines/configs/breast_cancr.toml", "breast_cancr.toml", "breast_cancer.toml"),
        (f"train {ROOT / EXAMPLE} --set run.directory=/r", "config = ", "nothing beside it"),
        (train("--exclude", "pipelines"), "config = ", "left out"),
        (train("--set", "tracking.uri=sqlite:///mlflow.db"), "tracking.uri", "'sqlite:////shared/runs/mlflow.db'?"),
        (train("--set", "data.path=no.csv", "--set", "data.target=y", "--set", "data.name=none"), "data.path", "no such file"),
        (train("--working-dir", "/nowhere"), "--working-dir = '/nowhere'", "did you mean"),
        (train("--env", "MLFLOW_TRACKING_UR"), "--env = 'MLFLOW_TRACKING_UR'", "'MLFLOW_TRACKING_URI'?"),
        (train("--stop-seconds", "0"), "--stop-seconds = 0", "'120'?"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_with_the_nearest(
    checkout: Path, line: str, named: str, near: str
) -> None:
    with pytest.raises(InputError) as caught:
        plan(line, {"MLFLOW_TRACKING_URI": "http://mlflow:5000"} if "--env" in line else None)
    assert named in str(caught.value)
    assert near in str(caught.value)


def test_runs_are_tracked_somewhere_that_stays(checkout: Path) -> None:
    assert plan(train()).env_vars["MLFLOW_TRACKING_URI"] == "sqlite:////shared/runs/mlflow.db"
    server = {"MLFLOW_TRACKING_URI": "http://mlflow:5000", "MLFLOW_TRACKING_TOKEN": "secret"}
    assert plan(train(), server).env_vars.items() >= server.items()
    configured = plan(train("--set", "tracking.uri=http://other:5000"), server)
    assert configured.env_vars["MLFLOW_TRACKING_URI"] == "http://other:5000"
    # A run that is there knows where it is logged
    assert "MLFLOW_TRACKING_URI" not in plan("resume a --directory /shared/runs").env_vars
    assert plan("resume /shared/runs/a").request().metadata[RUN_KEY] == "a"


def test_keys_go_only_where_they_are_needed_and_are_never_shown(
    checkout: Path, capsys: pytest.CaptureFixture
) -> None:
    secrets = {"IONQ_API_KEY": "sekret-1", "AWS_SECRET_ACCESS_KEY": "sekret-2", "MY_KEY": "sekret-3"}
    assert "sekret" not in repr(dict(plan(train(), secrets).env_vars))
    ionq = plan(train("--set", "backend.name=ionq", "--set", "backend.shots=100", "--env", "MY_KEY"), secrets)
    assert {n: v for n, v in ionq.env_vars.items() if n in secrets} == {
        "IONQ_API_KEY": "sekret-1",
        "MY_KEY": "sekret-3",
    }
    assert ionq.keys == ("IONQ_API_KEY", "MY_KEY")
    shown = f"{ionq!r} {ionq.request()!r} {ionq.request().entrypoint} {ionq.request().metadata}"
    assert "sekret" not in shown
    with pytest.raises(ConfigError, match="takes the name") as caught:
        plan(train("--env", "MY_KEY=sekret-3"), secrets)
    assert "sekret" not in str(caught.value)
    with pytest.raises(ConfigError, match="cluster's log") as caught:
        plan(train("--set", "tracking.uri=http://ann:sekret@host"))
    assert "sekret" not in str(caught.value)


def test_a_dry_run_asks_no_cluster_and_shows_no_key(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("MY_KEY", "sekret-3")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:sekret@host")
    assert cli.main(["submit", *shlex.split(train("--env", "MY_KEY", "--dry-run", "--json"))]) == 0
    printed = capsys.readouterr()
    assert "MY_KEY" in printed.err
    assert "sekret" not in printed.out + printed.err


@pytest.mark.parametrize("command", SUBMITTABLE)
def test_every_command_that_can_be_submitted_is_a_module_to_run(command: str) -> None:
    module = ROOT / "pipelines" / command
    file = module / "__main__.py" if module.is_dir() else module.with_suffix(".py")
    assert f'main(["{command}", *sys.argv[1:]])' in file.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["docs/launching.md", "README.md", "cluster.yaml"])
def test_commands_that_the_pages_show_are_accepted(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    text = (ROOT / page).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = re.findall(r"^(?:#   )?qfleet ((?:submit|jobs) [^#\n]*?)(?: {2,}.*)?$", text, re.M)
    assert any(line.startswith("submit train") for line in lines)
    for line in lines:
        shown = re.sub(r"\b(C|CONFIG)\.toml", EXAMPLE, line).replace(
            "...", f"{EXAMPLE} --set run.directory=/r"
        )
        if shown.startswith("submit"):
            assert plan(shown.removeprefix("submit ")).request().id
        else:
            assert cli.parsed(shlex.split(shown)).module == "pipelines.launch.jobs"


# --- The working directory -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "stays"),
    [
        (".git/HEAD", True),
        (".venv/bin/python", True),
        ("runs/a/config.toml", True),
        ("mlflow.db-wal", True),
        (".env.local", True),
        ("a/__pycache__/b.pyc", True),
        (".ruff_cache/x", True),
        ("pipelines/train.py", False),
        ("my_runs.py", False),
        ("environment.toml", False),
    ],
)
def test_what_stays_here(path: str, stays: bool) -> None:
    assert (is_excluded(Path(path), EXCLUDES) is not None) == stays


def test_what_goes_is_what_is_left(checkout: Path) -> None:
    for name in ("runs/a/config.toml", ".env", "my/model.py", "my/__pycache__/model.pyc", "notes.txt"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).touch()
    assert plan(train("--exclude", "notes.txt")).request().files == ("my/model.py", EXAMPLE)


@pytest.mark.parametrize("is_repository", [False, True])
def test_a_large_folder_is_warned_of(
    tmp_path: Path, is_repository: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import subprocess

    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    if is_repository:
        subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
        (tmp_path / ".gitignore").write_text("ignored/\n")
    for name in ("data/big.csv", "runs/a/big.npz", ".venv/lib.so", "ignored/big.bin"):
        (tmp_path / name).parent.mkdir(parents=True)
        with (tmp_path / name).open("wb") as file:
            file.truncate(150_000_000)  # takes no room on the disk
    warning = size_warning(tmp_path, EXCLUDES)
    assert warning is not None
    assert "data 150 MB" in warning
    assert ("ignored" in warning) != is_repository
    assert "runs" not in warning
    assert size_warning(tmp_path, (*EXCLUDES, "data", "ignored")) is None
