"""Images as features: the transform against Pillow and by area, orientation, refusals; a model of drawn shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image, ImageDraw

from orchestrator.config import DataConfig, TrainingConfig
from orchestrator.errors import ConfigError, DataError
from pipelines import Trainer
from pipelines.data.datasets import prepare
from pipelines.data.images import ImageTransform
from pipelines.predictor import Predictor


def shapes(folder: Path, n_each: int = 16, seed: int = 0) -> Path:
    """Discs and crosses of several sizes and places, as JPEG and PNG, in grey and in colour."""
    rng = np.random.default_rng(seed)
    for kind in ("cross", "disc"):
        (folder / kind).mkdir(parents=True)
        for number in range(n_each):
            image = Image.new("RGB", (40 + number % 5, 36), (0, 0, 0))
            draw = ImageDraw.Draw(image)
            x, y, r = (int(v) for v in rng.integers([17, 15, 9], [23, 20, 13]))
            if kind == "disc":
                draw.ellipse((x - r, y - r, x + r, y + r), fill=(250, 250, 200))
            else:
                draw.line((x - r, y - r, x + r, y + r), fill=(250, 250, 200), width=4)
                draw.line((x - r, y + r, x + r, y - r), fill=(250, 250, 200), width=4)
            if number % 3 == 0:
                image = image.convert("L")
            image.save(folder / kind / f"{number:02d}.{'jpg' if number % 2 else 'png'}")
    return folder


def saved(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def test_whole_factors_are_pillows_box_filter(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (48, 48, 3), dtype=np.uint8)
    found = ImageTransform(8).features(saved(tmp_path / "a.png", pixels))
    luma = pixels.astype(float) @ [0.299, 0.587, 0.114]
    reference = Image.fromarray(luma.astype(np.float32)).resize((8, 8), Image.Resampling.BOX)
    np.testing.assert_allclose(found, np.asarray(reference) / 255, atol=1e-6)  # Pillow's are float32
    np.testing.assert_allclose(found, luma.reshape(8, 6, 8, 6).mean((1, 3)) / 255, atol=1e-14)


@pytest.mark.parametrize(("side", "size"), [(7, 3), (10, 4), (9, 8), (5, 5), (31, 7)])
def test_other_factors_are_means_by_area(side: int, size: int) -> None:
    values = np.random.default_rng(2).random((side, side))
    fine = np.kron(
        values, np.ones((size, size))
    )  # each pixel as size x size equal ones: cells then are whole
    wanted = fine.reshape(size, side, size, side).mean((1, 3))
    found = ImageTransform(size).resized(values, Path("image"))
    np.testing.assert_allclose(found, wanted, atol=1e-14)
    assert found.mean() == pytest.approx(values.mean(), abs=1e-14)


@pytest.mark.parametrize("fit", ["crop", "letterbox"])
def test_what_is_not_square_becomes_so(tmp_path: Path, fit: Literal["crop", "letterbox"]) -> None:
    pixels = np.full((4, 8), 255, np.uint8)
    pixels[:, :2] = 51
    found = ImageTransform(4, fit).features(saved(tmp_path / "a.png", pixels))
    if fit == "crop":
        assert np.array_equal(found, np.ones((4, 4)))
    else:
        row = [0.2, 1.0, 1.0, 1.0]
        np.testing.assert_allclose(found, [[0] * 4, row, row, [0] * 4], atol=1e-15)


def test_a_long_thin_image_takes_no_more_than_its_own_memory() -> None:
    """Its square would take 80 GB."""
    found = ImageTransform(4, "letterbox").resized(np.ones((1, 100_000)), Path("line.png"))
    np.testing.assert_allclose(
        found[1:3].sum(axis=0), 1 / 25_000, rtol=1e-9
    )  # a pixel of the 25,000 in a column of a cell
    assert not found[[0, 3]].any()


def test_orientation_depth_and_transparency(tmp_path: Path) -> None:
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    upright = ImageTransform(8).features(saved(tmp_path / "a.png", pixels))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    turned = ImageTransform(8).features(saved(tmp_path / "b.png", np.rot90(pixels).copy(), exif=exif))
    assert np.array_equal(turned, upright)
    deep = saved(tmp_path / "c.png", (pixels.astype(np.uint16) * 257))
    np.testing.assert_allclose(ImageTransform(8).features(deep), upright, atol=1e-15)
    clear = np.zeros((8, 8, 4), np.uint8)
    clear[:4, :, 3] = 255  # black above, nothing below
    found = ImageTransform(2).features(saved(tmp_path / "d.png", clear))
    assert np.array_equal(found, [[0, 0], [1, 1]])


def test_what_is_no_image_is_refused_by_name(tmp_path: Path) -> None:
    folder = shapes(tmp_path / "shapes", 4)
    config = DataConfig(path=str(folder), image_size=8)

    def refusal(kind: type[Exception] = DataError, **keys: Any) -> str:
        with pytest.raises(kind) as caught:
            prepare(DataConfig(**({"path": str(folder), "image_size": 8} | keys)), task="binary", seed=0)
        return str(caught.value)

    assert len(prepare(config, task="binary", seed=0).train.targets)
    assert "pixels, fewer than data.image_size = 64" in refusal(image_size=64)
    whole = (folder / "disc" / "01.jpg").read_bytes()
    (folder / "disc" / "01.jpg").write_bytes(whole[: len(whole) // 2])
    assert "disc/01.jpg: damaged" in refusal()
    assert "disc/01.jpg: damaged" in refusal(streaming=True)
    (folder / "disc" / "01.jpg").unlink()
    (folder / "disc" / "notes.txt").write_text("x")
    assert "disc/notes.txt" in refusal()
    (folder / "disc" / "notes.txt").unlink()
    (folder / "empty").mkdir()
    assert "empty: holds no" in refusal()
    assert "did you mean" in refusal(ConfigError, path=str(tmp_path / "shape"))
    assert "has no folders" in refusal(path=str(folder / "disc"))
    assert "set data.image_size" in refusal(target="kind", image_size=None)


def test_streamed_images_are_the_same(tmp_path: Path) -> None:
    folder = shapes(tmp_path / "shapes")
    keys = {"path": str(folder), "image_size": 6, "n_components": 4}
    whole, streamed = (
        prepare(DataConfig(**keys, streaming=streaming), task="binary", seed=5) for streaming in (False, True)
    )
    assert whole.class_names == streamed.class_names == ("cross", "disc")
    for split in ("train", "validation", "test"):
        assert np.array_equal(getattr(whole.rows, split), getattr(streamed.rows, split))
        assert np.array_equal(getattr(whole, split).targets, getattr(streamed, split).targets)
        np.testing.assert_allclose(
            getattr(whole, split).features, getattr(streamed, split).features, atol=1e-12
        )
    assert np.array_equal(whole.raw_example, streamed.raw_example)


def test_a_patch_model_learns_shapes_and_predicts_new_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.trainer.log_outcome", lambda *arguments, **named: None)
    folder = shapes(tmp_path / "shapes")
    config = TrainingConfig.from_dict(
        {
            "data": {
                "path": str(folder), "image_size": 4, "standardize": False, "angle_scale": 3.0, "validation_fraction": 0.0,
            },
            "model": {"n_qubits": 4, "n_layers": 1, "image_shape": [4, 4], "patch_shape": [2, 2]},
            "run": {"directory": str(tmp_path / "runs"), "epochs": 12, "batch_size": 8},
            "optimizer": {"learning_rate": 0.15},
            "fleet": {"dispatcher": "serial"},
            "tracking": {"enabled": False},
        }
    )  # fmt: skip
    result = Trainer(config, progress=False).fit()
    predictor = Predictor.load(result.folder.model)
    new = shapes(tmp_path / "new", 10, seed=9)
    files = sorted(new.rglob("*.*"))
    predicted = predictor.predict(predictor.image_features(files))
    right = np.mean([name == file.parent.name for name, file in zip(predicted, files, strict=True)])
    assert right >= 0.85  # discs are filled and crosses are not: 20 new files, by chance half of them
    assert result.folder.read_json("data/about.json")["images"] == {"size": 4, "fit": "crop"}
