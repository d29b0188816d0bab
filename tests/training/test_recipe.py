import pytest

from eas_tf.errors import InvalidConfiguration
from eas_tf.training.recipe import RATE_FROM_SCRATCH, Recipe
from eas_tf.training.strategy import make_strategy


def test_the_defaults_are_the_papers():
    recipe = Recipe()
    assert (recipe.epochs, recipe.batch, recipe.learning_rate, recipe.momentum, recipe.weight_decay) == (
        20,
        64,
        0.02,
        0.9,
        1e-4,
    )
    assert RATE_FROM_SCRATCH == 0.1
    assert (recipe.crop_and_flip, recipe.cutout, recipe.label_smoothing, recipe.dropout) == (False, 0, 0.0, 0.0)


@pytest.mark.parametrize(
    "nonsense",
    [
        {"epochs": 0},
        {"batch": 0},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"momentum": 1.0},
        {"momentum": -0.1},
        {"weight_decay": -1e-4},
        {"weight_decay": float("nan")},
        {"cutout": -1},
        {"dropout": -0.1},
        {"dropout": 1.0},
        {"dropout": float("nan")},
        {"label_smoothing": -0.1},
        {"label_smoothing": 1.0},
        {"label_smoothing": float("nan")},
    ],
)
def test_nonsense_is_refused(nonsense):
    with pytest.raises(InvalidConfiguration, match="Received"):
        Recipe(**nonsense)


def test_strategies():
    assert make_strategy("auto").num_replicas_in_sync == 1
    assert make_strategy("single").num_replicas_in_sync == 1
    assert make_strategy("mirrored").num_replicas_in_sync == 2
    with pytest.raises(InvalidConfiguration, match="auto, single, mirrored"):
        make_strategy("horovod")
