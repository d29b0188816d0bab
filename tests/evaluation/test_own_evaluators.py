"""What evaluators of a user's own answer is refused in one line if it is not what `Evaluator` promises."""

from dataclasses import replace
from itertools import repeat

import numpy as np
import pytest

from eas_tf.envs import EASEnv, EASVectorEnv
from eas_tf.errors import InvalidConfiguration
from eas_tf.evaluation import EVALUATORS, Result, register_evaluator

GOOD = Result(accuracy=0.5, loss=None, seconds=0.0)


class Own:
    """Gives what it is told to."""

    def __init__(self, answer, validation_images=100):
        self._answer, self.validation_images = answer, validation_images

    def evaluate(self, requests):
        return self._answer(requests)

    def close(self):
        """Nothing was started."""


def each(result):
    """One result for all."""
    return lambda requests: [result for _ in requests]


def finished(evaluator, vector):
    """What `info` says at the end of an episode that this evaluator ends."""
    env = (EASVectorEnv if vector else EASEnv)(evaluator=evaluator, schedule=["widen"])
    env.action_space.seed(0)
    _, info = env.reset(seed=0)
    return env.step(env.action_space.sample(mask=info["action_mask"]))[-1]


WRONG = [
    (each(replace(GOOD, accuracy=97.5)), r"from 0 to 1 \(not a percentage\).*Received from Own: .*accuracy=97\.5"),
    (each(replace(GOOD, accuracy=float("nan"))), "accuracy=nan"),
    (each(replace(GOOD, accuracy=-0.1)), r"accuracy=-0\.1"),
    (each(replace(GOOD, accuracy=None)), "accuracy=None"),
    (each(replace(GOOD, accuracy="0.5")), "accuracy='0.5'"),
    (each(replace(GOOD, accuracy=np.array([0.5, 0.7]))), "accuracy=array"),
    (each(replace(GOOD, failure="it diverged")), "and 0 if there is a failure"),
    (each(replace(GOOD, accuracy=0, failure=True)), "a failure, which is a text"),
    (each(replace(GOOD, seconds=None)), "seconds and loss are numbers"),
    (each(replace(GOOD, loss="low")), "seconds and loss are numbers"),
    (each(0.5), r"objects of the class Result.*Received from Own: 0\.5$"),
    (each(None), r"objects of the class Result.*Received from Own: None$"),
    (lambda _: None, r"one Result for each request\. Expected of Own: \d+\. Received: None$"),
    (lambda requests: [GOOD for _ in requests[1:]], r"Expected of Own: \d+\. Received: \d$"),
    (lambda requests: [GOOD for _ in requests] + [GOOD], r"Expected of Own: \d+\. Received: more$"),
    (lambda _: repeat(GOOD), r"Expected of Own: \d+\. Received: more$"),
]


@pytest.mark.parametrize("vector", [False, True])
@pytest.mark.parametrize(("answer", "message"), WRONG)
def test_an_answer_that_is_not_what_was_promised_is_refused_in_one_line(answer, message, vector):
    with pytest.raises(InvalidConfiguration, match=message) as refused:
        finished(Own(answer), vector)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("images", [0, -1, None, 2.5, "100"])
def test_accuracies_are_measured_on_images_and_nothing_is_evaluated_before_that_is_known(images):
    asked = []
    with pytest.raises(InvalidConfiguration, match=r"`validation_images` of an evaluator .* at least 1\. Received"):
        finished(Own(asked.append, validation_images=images), vector=False)
    assert not asked


@pytest.mark.parametrize("accuracy", [0, 1, True, np.float32(0.5), np.float64(0.5)])
@pytest.mark.parametrize("vector", [False, True])
def test_numbers_may_be_of_any_type(accuracy, vector):
    evaluator = Own(lambda requests: iter(each(replace(GOOD, accuracy=accuracy))(requests)), np.int64(100))
    assert np.all(finished(evaluator, vector)["accuracy"] == accuracy)


@pytest.mark.parametrize("made", [None, Own, 0.5])
def test_what_a_maker_returns_is_an_evaluator(made, monkeypatch):
    monkeypatch.setattr("eas_tf.evaluation.registry.EVALUATORS", EVALUATORS)
    monkeypatch.setitem(EVALUATORS, "own", lambda *_: made)
    register_evaluator("own", EVALUATORS["own"])
    with pytest.raises(
        InvalidConfiguration, match=r"What makes the evaluator 'own' returns an object with .* Received"
    ):
        finished("own", vector=False)
