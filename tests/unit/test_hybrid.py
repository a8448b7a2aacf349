"""``qfleet hybrid``: networks and their twins, training that repeats and resumes to the same bits, both commands, and refusals."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")
import torch
from torch.nn import functional

from orchestrator.config import TrainingConfig
from orchestrator.errors import CheckpointError
from pipelines import cli
from pipelines.data.drawn import drawn_images
from pipelines.display.progress import QuietProgress
from pipelines.hybrid import trained_network
from pipelines.hybrid.image_splits import expected_images, image_splits
from pipelines.hybrid.networks import ARMS, EdgeStrengths, block_means, n_twin_params, twin_layer
from pipelines.hybrid.report import in_words
from pipelines.hybrid.settings import HybridSettings
from pipelines.hybrid.splits import Part, Splits, digits_splits
from pipelines.hybrid.training import Epoch, Fit, Plan, reproducible, schedule
from pipelines.hybrid.workloads import network_of

SMALL = HybridSettings(workload="digits", qubits=3, depth=2)
CONFIG = TrainingConfig().with_overrides(["fleet.dispatcher=serial", "tracking.enabled=false"])
IMAGES = ["--samples", "40", "--test-samples", "16", "--size", "32", "--qubits", "3", "--depth", "1"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asked(capsys: pytest.CaptureFixture[str], *arguments: str, expect: int = 0) -> dict[str, Any]:
    code = cli.main([*arguments, "--json"])
    printed = capsys.readouterr()
    assert code == expect, printed.err[-2000:]
    found: dict[str, Any] = json.loads(printed.out.splitlines()[-1])
    return found


def few_digits(n: int = 90) -> Splits:
    whole = digits_splits(1)
    train, validation, test = (
        Part(part.inputs[:n], part.targets[:n]) for part in (whole.train, whole.validation, whole.test)
    )
    return replace(whole, train=train, validation=validation, test=test)


# --- The networks


@pytest.mark.parametrize(
    ("n_params", "got"), [(64, 64), (72, 72), (96, 96), (100, 96), (48, 48), (8, 16), (1000, 994)]
)
def test_the_twin_has_as_many_parameters_as_nearly_as_can_be(n_params: int, got: int) -> None:
    """Of a layer 8 -> 8: 64 or 72 in one map, 16 h or 17 h + 8 in two."""
    layer = twin_layer(8, 8, n_params)
    n = sum(one.numel() for one in layer.parameters())
    assert n == got
    shapes = [(hidden, bias) for hidden in (None, *range(1, 80)) for bias in (False, True)]
    assert abs(n - n_params) == min(abs(n_twin_params(8, 8, *shape) - n_params) for shape in shapes)
    with torch.no_grad():
        assert layer(50 * torch.randn(5, 8)).abs().max() <= 1


def test_arms_differ_in_the_middle_alone() -> None:
    before = torch.random.get_rng_state()
    networks = {arm: network_of(arm, SMALL, CONFIG, 10, seed=5) for arm in ARMS}
    assert torch.equal(torch.random.get_rng_state(), before)
    sizes = [network.sizes() for network in networks.values()]
    assert [size["middle"] for size in sizes] == [12, 12, 0]
    for part in ("front", "head"):
        states = [getattr(network, part).state_dict() for network in networks.values()]
        for name, value in states[0].items():
            assert all(torch.equal(state[name], value) for state in states)
    other = network_of("hybrid", SMALL, CONFIG, 10, seed=6)
    assert not torch.equal(other.head.weight, networks["hybrid"].head.weight)


def test_the_fixed_first_layers() -> None:
    images = torch.from_numpy(drawn_images(3, 35, seed=2)[0])
    pooled = functional.avg_pool2d(images.permute(0, 3, 1, 2).double(), 4)
    assert torch.equal(block_means(images, 4).double(), pooled)  # sums of 16 bytes, divided by a power of two
    values = np.random.default_rng(0).normal(size=(2, 3, 5, 6))
    found = EdgeStrengths()(torch.from_numpy(values)).numpy()
    assert found.shape == (2, 7, 3, 4)
    for row, column, (down, right), (up, left), place in [
        (0, 0, (1, 2), (1, 0), 0), (2, 3, (4, 4), (2, 4), 1), (1, 1, (3, 3), (1, 1), 2), (0, 2, (2, 2), (0, 4), 3),
    ]:  # fmt: skip
        change = values[:, :, down, right] - values[:, :, up, left]
        expected = np.sqrt((change**2).sum(1) + 1e-3)
        np.testing.assert_allclose(found[:, place, row, column], expected, rtol=1e-12)
    assert np.array_equal(found[:, 4:], values[:, :, 1:-1, 1:-1])


# --- Training


def fitted(file: Path | None, epochs: int = 3, stop_at: int | None = None, shots: int | None = None) -> Fit:
    config = CONFIG if shots is None else CONFIG.with_overrides([f"backend.shots={shots}"])
    fit = Fit(
        network_of("hybrid", SMALL, config, 10, seed=2), few_digits(), Plan(epochs, 32, 0.03, 0.06, 2), file
    )

    def stop(epoch: Epoch) -> None:
        if epoch.epoch == stop_at:
            raise KeyboardInterrupt

    with reproducible(1):
        try:
            fit.run(QuietProgress(), stop)
        except KeyboardInterrupt:
            assert stop_at is not None
    return fit


@pytest.mark.parametrize("shots", [None, 64])
def test_the_same_seed_gives_the_same_bits_interrupted_or_not(tmp_path: Path, shots: int | None) -> None:
    calm = fitted(None, shots=shots)
    file = tmp_path / "fit.npz"
    broken = fitted(file, stop_at=2, shots=shots)
    assert len(broken.history) == 2
    assert broken.digest() != calm.digest()
    went_on = fitted(file, shots=shots)
    assert went_on.digest() == calm.digest() == fitted(None, shots=shots).digest()
    without_time = [[replace(epoch, seconds=0.0) for epoch in fit.history] for fit in (calm, went_on)]
    assert without_time[0] == without_time[1]
    assert went_on.totals == calm.totals
    test = few_digits().test
    assert np.array_equal(went_on.predict(test)[0], calm.predict(test)[0])
    assert calm.history[-1].train_loss < calm.history[0].train_loss


def test_a_last_batch_of_one_is_left_out_of_the_means() -> None:
    """With a rate of zero every batch is met by the same weights: the mean over 90 of 91 samples is that of their batches."""
    network = network_of("twin", SMALL, CONFIG, 10, seed=2)
    fit = Fit(network, few_digits(91), Plan(1, 45, 0.0, 0.0, 2))
    fit.run(QuietProgress(), lambda epoch: None)
    order = np.random.default_rng([2, 1]).permutation(91)
    network.train()
    losses = []
    for batch in (order[:45], order[45:90]):
        inputs, targets = (torch.from_numpy(values[np.sort(batch)]) for values in few_digits(91).train)
        losses.append(functional.cross_entropy(network(inputs), targets).item())
    assert fit.history[0].train_loss == pytest.approx(np.mean(losses), rel=1e-6)


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "fit.npz"
    fitted(file, epochs=1)
    other = network_of("twin", SMALL, CONFIG, 10, seed=2)
    with pytest.raises(CheckpointError, match="of another network"):
        Fit(other, few_digits(), Plan(1, 32, 0.03, 0.06, 2), file)
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(CheckpointError, match=r"fit\.npz"):
        fitted(file)


def test_the_learning_rate_rises_and_falls() -> None:
    shares = np.array([schedule(step, 100) for step in range(1, 101)])
    assert shares.argmax() == 19
    assert shares.max() == 1.0
    assert (np.diff(shares[:20]) > 0).all()
    assert (np.diff(shares[19:]) < 0).all()
    assert 0 < shares[-1] < 1e-3
    assert schedule(1, 1) == 1.0


# --- The commands


def test_images_without_a_folder(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three batches of 13, 13 and 6 of 32: forward and backward; validation after each of two epochs; the test once."""
    command = [
        "hybrid",
        "images",
        *IMAGES,
        "--epochs",
        "2",
        "--batch-size",
        "13",
        "--no-tracking",
        "--name",
        "a",
    ]
    found = asked(capsys, *command)
    assert found["samples"] == {"train": 32, "validation": 8, "test": 16}
    hybrid, twin = found["arms"]["hybrid"], found["arms"]["twin"]
    assert hybrid["params"]["front"] == twin["params"]["front"]
    assert (hybrid["params"]["middle"], twin["params"]["middle"]) == (6, 6)
    assert hybrid["felt_params"] == 3  # the RZ of the only layer turns about the axis that is measured
    assert found["source"]["best_val_accuracy"] == 0.5848
    dry = asked(capsys, *command, "--dry-run")
    assert dry["circuits"] == hybrid["circuits"] == 2 * (2 * 32 + 8) + 16
    report = (here / "runs" / "a" / "report.md").read_text()
    assert "no like for like" in report
    assert (
        "images: 40 for their 1,000; pixels a side: 32 for their 180; epochs: 2 for their 5; images a batch: 13"
        in report
    )
    assert (here / "runs" / "a" / "artifacts" / "hybrid.png").stat().st_size > 10_000
    # the picture and the numbers are of what was trained: the network that was kept predicts the same
    network = trained_network(here / "runs" / "a")
    settings = HybridSettings(samples=40, test_samples=16, size=32)
    test = image_splits(settings, seed=7).test
    with torch.no_grad():
        right = (network(torch.from_numpy(test.inputs)).argmax(1).numpy() == test.targets).mean()
    assert right == hybrid["test_accuracy"]
    assert asked(capsys, "resume", "a")["arms"] == found["arms"]


def test_digits_with_seeds(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--qubits", "2", "--depth", "1", "--epochs", "2", "--seeds", "2", "--batch-size", "256"]
    found = asked(capsys, "hybrid", "digits", *options, "--name", "d", "--no-tracking")
    assert [one["seed"] for one in found["seeds"]] == [7, 8]
    mean = np.mean([one["arms"]["twin"]["test_accuracy"] for one in found["seeds"]])
    assert found["arms"]["twin"]["test_accuracy"] == mean
    assert found["differences"]["twin"]["method"] == "corrected resampled t-test"
    assert found["baselines"]["64 pixels"] > 0.9
    with pytest.raises(CheckpointError, match=r"none-9\.npz"):
        trained_network("runs/d", "none", seed=9)


def test_ctrl_c_keeps_what_there_is_and_resume_goes_on(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.hybrid.study import HybridStudy

    command = [
        "hybrid",
        "digits",
        "--qubits",
        "2",
        "--depth",
        "1",
        "--epochs",
        "2",
        "--batch-size",
        "256",
        "--no-tracking",
    ]
    command += ["--seeds", "1"]
    calm = asked(capsys, *command, "--name", "calm")
    log = HybridStudy._log

    def interrupt(study: HybridStudy, arm: str, seed: int, epoch: Epoch) -> None:
        log(study, arm, seed, epoch)
        if (arm, epoch.epoch) == ("hybrid", 1):
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(HybridStudy, "_log", interrupt)
        assert cli.main([*command, "--name", "cut"]) == 130
    said = capsys.readouterr().err
    assert "hybrid: interrupted; kept is what 1 epoch came to: validation accuracy" in said
    assert "resume cut" in said
    seen: list[tuple[str, int]] = []
    with monkeypatch.context() as patch:
        patch.setattr(HybridStudy, "_log", lambda study, arm, seed, epoch: seen.append((arm, epoch.epoch)))
        found = asked(capsys, "resume", "cut")
    assert seen == [(arm, epoch) for arm in ARMS for epoch in (1, 2)], (
        "an epoch that was saved may not have been logged"
    )
    digests = [{arm: one["seeds"][0]["arms"][arm]["weights_sha256"] for arm in ARMS} for one in (calm, found)]
    assert digests[0] == digests[1]


def folder_of(path: Path, classes: int = 2, n: int = 12) -> Path:
    for index in range(classes):
        (path / f"kind{index}").mkdir(parents=True)
        for number, image in enumerate(drawn_images(n, 40, seed=index)[0]):
            Image.fromarray(image).save(path / f"kind{index}" / f"{number:02d}.png")
    return path


def test_images_from_a_folder(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = folder_of(here / "pets")
    settings = HybridSettings(folder=str(folder), samples=20, test_samples=8, size=32)
    splits = image_splits(settings, seed=1)
    assert splits.class_names == ("kind0", "kind1")
    assert expected_images(settings)[1] == splits.sizes
    for part in (splits.train, splits.test):
        assert abs(int((part.targets * 2 - 1).sum())) <= 1
    everything = np.concatenate([splits.train.inputs, splits.validation.inputs, splits.test.inputs])
    assert (
        len(np.unique(everything.reshape(len(everything), -1), axis=0)) == 24
    )  # fewer than asked for: all, and each once
    (folder / "kind0" / "Thumbs.db").touch()
    torn = folder / "kind1" / "03.png"
    torn.write_bytes(torn.read_bytes()[:300])
    command = [
        "hybrid",
        "images",
        str(folder),
        *IMAGES[4:],
        "--samples",
        "20",
        "--test-samples",
        "8",
        "--epochs",
        "1",
    ]
    refused = asked(capsys, *command, "--no-tracking", expect=2)
    assert "kind1/03.png: damaged" in refused["error"]["message"]
    assert "--skip-damaged" in refused["error"]["message"]
    found = asked(capsys, *command, "--no-tracking", "--skip-damaged", "--name", "s")
    assert len(found["left_out"]) == 1
    assert sum(found["samples"].values()) == 23


# --- Refusals


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["images", "one"], "holds one class, 'kind0'"),
        (["images", "empty"], "has no folders"),
        (["images", "tow"], "FOLDER = 'tow': no such folder"),
        (["images", "--size", "8"], "did you mean '32'?"),
        (["images", "--samples", "900000"], "would take more than"),
        (["images", "--skip-damaged"], "is for a folder of images"),
        (["digits", "--qubits", "40"], "did you mean '16'?"),
        (["images", "few"], "1 of the 9 images to be taken are of class 'rare'"),
        (["digits", "--epochs", "0"], "run.epochs = 0"),
        (["digits", "--batch-size", "1"], "--batch-size = 1: one sample has no variance"),
        (["digits", "--backend", "idael"], "did you mean 'ideal'?"),
        (["digits", "--set", "model.n_qubits=3"], "means nothing to this command"),
        (
            ["digits", "--backend", "ionq", "--set", "backend.target=qpu.aria-1", "--shots", "500"],
            "--yes-spend",
        ),
    ],
)
def test_what_is_refused_writes_nothing(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    folder_of(here / "one", classes=1, n=1)
    (here / "empty").mkdir()
    few = folder_of(here / "few", n=4)
    (few / "rare").mkdir()
    shutil.copy(few / "kind0" / "00.png", few / "rare" / "0.png")
    found = asked(capsys, "hybrid", *arguments, expect=2)
    assert words in found["error"]["message"]
    assert not (here / "runs").exists()


def test_without_torch(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith(("pipelines.frontends.pytorch", "torch"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    found = asked(capsys, "hybrid", "digits", expect=2)
    assert found["error"]["type"] == "MissingExtraError"
    assert "pip install '.[torch]'" in found["error"]["message"]
    assert not (here / "runs").exists()


def test_a_difference_in_words() -> None:
    about = {"difference": 0.01, "low": -0.005, "high": 0.025, "p": 0.2, "method": "McNemar's exact test"}
    assert (
        in_words(about)
        == "+1.0 % (-0.5 % to +2.5 %), p = 0.2 by McNemar's exact test: no more than chance would make"
    )
    assert in_words(about | {"p": 1e-5}).endswith("p = 1e-05 by McNemar's exact test: more than chance")
