"""A user's own images all the way through: many channels, few images, small ones, words for labels."""

import io

import keras
import numpy as np
import pytest
from rich.console import Console

from eas_tf.architecture import SPACES
from eas_tf.errors import InvalidArchitecture, InvalidConfiguration, InvalidData
from eas_tf.final.plan import FinalConfig, FinalPlan
from eas_tf.final.training import final_training
from eas_tf.report.account import read
from eas_tf.report.page import page
from eas_tf.runs.interruption import Interruption
from eas_tf.runs.progress import Progress
from eas_tf.search.config import SearchConfig
from eas_tf.search.driver import search
from eas_tf.search.plan import Plan

RNG = np.random.default_rng(0)
WORDS = np.array(["cat", "dog"])


def save(path, height, width, channels, count=60, **arrays):
    """Dark and bright images of two classes, from 0 to 1."""
    y = np.arange(count) % 2
    x = (RNG.random((count, height, width, channels)) + y[:, None, None, None]) / 2
    np.savez(path, **{"x_train": x, "y_train": WORDS[y], "x_test": x[:10], "y_test": WORDS[y[:10]]} | arrays)
    return str(path)


def told():
    return Progress(2, Console(file=io.StringIO(), width=200))


def test_five_channels_are_searched_trained_and_reported(tmp_path):
    mine = save(tmp_path / "mine.npz", 8, 9, 5)
    config = SearchConfig(
        dataset=mine, space="digits", networks=1, epochs=1, start_epochs=8, engine="inline", crop_and_flip="on",
        output=tmp_path / "run",
    )  # fmt: skip
    plan, progress = Plan.of(config), told()
    assert plan.images.class_names == ("cat", "dog")
    search(plan, progress)
    lines = progress._console.file.getvalue()
    assert "--batch is 32, because 64 is more than the 45 training images" in lines
    assert lines.count("holds values from 0 to 1, but the networks take pixels from 0 to 255: give them x * 255") == 2
    best = keras.models.load_model(tmp_path / "run" / "best.keras")
    with np.load(mine) as file:
        right = best.predict(file["x_test"] * 255, verbose=0).argmax(-1) == np.searchsorted(WORDS, file["y_test"])
    assert right.mean() > 0.8
    final = FinalPlan.of(FinalConfig(run=tmp_path / "run", epochs=1, cutout=2))
    final_training(final, progress := told(), Interruption(""))
    assert "give them x * 255" in progress._console.file.getvalue()
    assert "mine.npz" in page([read(tmp_path / "run")])


@pytest.mark.parametrize(("count", "batch"), [(20, 8), (60, 32), (100, 64)])
def test_a_default_batch_is_lowered_to_what_the_data_allow(count, batch, tmp_path):
    config = {"dataset": save(tmp_path / "mine.npz", 8, 8, 1, count), "output": tmp_path / "run"}
    plan = Plan.of(SearchConfig(**config))
    assert plan.config.batch == plan.recipe.batch == plan.start_recipe.batch == batch
    assert any("--batch" in note for note in plan.notes) == (batch < 64)
    with pytest.raises(InvalidConfiguration, match="--batch must be at most"):
        Plan.of(SearchConfig(**config, batch=count))


@pytest.mark.parametrize("space", sorted({*SPACES} - {"nasbench201"}))
def test_small_images_are_refused_with_the_smallest_size_and_with_what_mends_them(space, tmp_path):
    with pytest.raises(InvalidArchitecture) as caught:
        Plan.of(SearchConfig(dataset=save(tmp_path / "1.npz", 1, 3, 1), space=space, output=tmp_path / "run"))
    message = str(caught.value)
    smallest = int(message.split(f"The smallest images of the space {space!r} are ")[1].split("x")[0])
    for side, works in ((smallest - 1, False), (smallest, True)):
        mine = save(tmp_path / "2.npz", side, side, 2)
        try:
            Plan.of(SearchConfig(dataset=mine, space=space, output=tmp_path / "run"))
        except InvalidArchitecture:
            assert not works
        else:
            assert works
    advice = message.split("enlarged, ")[1].split(", and x_test")[0]
    with np.load(tmp_path / "1.npz") as file:
        arrays = dict(file)
    for name in ("x_train", "x_test"):
        arrays[name] = eval(advice, {"x_train": arrays[name]})
    np.savez(tmp_path / "3.npz", **arrays)
    Plan.of(SearchConfig(dataset=str(tmp_path / "3.npz"), space=space, output=tmp_path / "run"))


def test_a_search_among_equal_images_is_refused_and_writes_nothing(tmp_path):
    mine = save(tmp_path / "mine.npz", 8, 8, 1, x_train=np.zeros((60, 8, 8, 1), np.uint8))
    with pytest.raises(InvalidData, match=r"The training images of mine\.npz are all equal"):
        Plan.of(SearchConfig(dataset=mine, output=tmp_path / "run"))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.npz"]
