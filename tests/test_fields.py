"""What the fields of a configuration take, and how they refuse the rest."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from eas_tf.agents.evolution import EvolutionConfig
from eas_tf.agents.reinforce import ReinforceConfig
from eas_tf.architecture import Schedule
from eas_tf.envs.evaluators import EvaluatorConfig
from eas_tf.errors import InvalidConfiguration, exit_code
from eas_tf.evaluation.engine_config import ChildrenConfig, EngineConfig
from eas_tf.fields import check_fields
from eas_tf.final.plan import FinalConfig
from eas_tf.search import SearchConfig
from eas_tf.search.resuming import read_config
from eas_tf.training.config import TrainingConfig
from eas_tf.training.recipe import Recipe


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("dataset", Path("x.npz"), "x.npz"),
        ("dataset", np.str_("digits"), "digits"),
        ("stages", [300, 150], "300,150"),
        ("stages", (300, np.int64(150)), "300,150"),
        ("stages", "300, 150", "300,150"),
        ("networks", np.int32(3), 3),
        ("seed", np.array(3), 3),
        ("dropout", 0, 0.0),
        ("dropout", np.float32(0.5), 0.5),
        ("max_hours", np.int64(2), 2.0),
        ("max_hours", None, None),
        ("download", np.True_, True),
        ("workers", 2, 2),
        ("workers", "auto", "auto"),
        ("output", "runs/a", Path("runs/a")),
        ("crop_and_flip", "on", "on"),
    ],
)
def test_what_means_a_value_becomes_it(name, given, expected):
    config = SearchConfig(**{name: given})
    value = getattr(config, name)
    assert value == expected
    assert type(value) is type(expected)
    json.dumps(config.resolved().as_json())


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("networks", "3", "a whole number"),
        ("networks", 2.5, "a whole number"),
        ("networks", True, "a whole number"),
        ("networks", float("nan"), "a whole number"),
        ("seed", None, "a whole number"),
        ("max_params", "1e6", "a whole number or None"),
        ("max_hours", 10**400, "a number or None"),
        ("dropout", "0.2", "a number"),
        ("dropout", True, "a number"),
        ("controller", "x", '"keep" or "reset"'),
        ("symmetry_breaking", "x", '"shares" or "noise"'),
        ("stopping", ["off"], '"off", "watch", or "median"'),
        ("workers", "many", 'a whole number or "auto"'),
        ("dataset", None, "a text"),
        ("dataset", b"digits", "a text"),
        ("agent", 3, "a text or None"),
        ("output", 3, "a path or None"),
        ("download", "yes", "True or False"),
        ("download", 1, "True or False"),
        ("stages", [2.5], "a text, a list in which each is a whole number, or None"),
        ("deepen_steps", "5", "a whole number"),
        ("price_parameters", np.ones(2), "a number"),
    ],
)
def test_what_means_none_is_refused_in_one_line_that_names_the_field(name, given, expected):
    with pytest.raises(InvalidConfiguration) as caught:
        SearchConfig(**{name: given})
    told = str(caught.value)
    assert told.startswith(f"`{name}` must be {expected}. Received: {repr(given)[:50]}")
    assert told.isprintable()


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (ChildrenConfig, "epochs"),
        (EngineConfig, "child_seconds"),
        (EvaluatorConfig, "start_seed"),
        (EvolutionConfig, "population"),
        (FinalConfig, "seeds"),
        (Recipe, "learning_rate"),
        (ReinforceConfig, "entropy_bonus"),
        (Schedule, "widen_steps"),
        (TrainingConfig, "data_dir"),
    ],
)
def test_all_configurations_are_checked(config, name):
    rest = {"run": "runs/a"} if config is FinalConfig else {}
    with pytest.raises(InvalidConfiguration, match=f"`{name}` must be .* Received: "):
        config(**rest, **{name: [1]})


def test_the_command_line_is_checked_as_well(capsys):
    assert exit_code(lambda: bool(read_config(["--stages", "3,0"]))) == 2
    assert capsys.readouterr().err.startswith("error: --stages is the children of each stage")


def test_it_takes_any_dataclass():
    @dataclass(frozen=True)
    class Mine:
        sizes: tuple[int, ...] | None
        kind: Literal["a", "b"] = "a"

        def __post_init__(self):
            check_fields(self)

    assert Mine([1, np.int8(2)]) == Mine((1, 2))
    assert Mine(None, kind="b").kind == "b"
    with pytest.raises(InvalidConfiguration, match='`kind` must be "a" or "b"'):
        Mine(None, kind=True)
