"""Evaluators and players for the tests of the environments."""

from itertools import cycle

import gymnasium as gym
import numpy as np

from eas_tf.evaluation import Result

#: Ends soon, with both kinds of step in it.
SHORT = ["deepen", "widen", "deepen", "widen"]

#: Where a step's tuple, as `rollout` gives it, has what.
OBSERVATION, REWARD, TERMINATED, INFO = 0, 1, 2, 4


class RecordingEvaluator:
    """An evaluator that gives the accuracies it is told to, in turn, and keeps what it was asked.

    A child of accuracy 0 has the reason `failure`.
    """

    def __init__(self, *accuracies, validation_images=200, failure=None):
        self._accuracies, self._failure = cycle(accuracies or (0.5,)), failure
        self.validation_images = validation_images
        self.calls = []

    def evaluate(self, requests):
        self.calls.append(list(requests))
        for accuracy in [next(self._accuracies) for _ in requests]:
            yield Result(accuracy=accuracy, loss=None, seconds=0.0, failure=None if accuracy else self._failure)

    def close(self):
        """Nothing was started."""

    @property
    def seeds(self):
        """The seeds of all requests, in order."""
        return [request.seed for call in self.calls for request in call]


def legal_action(mask, rng):
    """A legal action of a mask of one network, uniform over insertions; the part that is not due is noise."""
    if "operation" in mask:
        return {"operation": rng.permutation(np.argwhere(mask["operation"]))[0]}
    legal = np.argwhere(mask["deepen"])
    deepen = legal[rng.integers(len(legal))] if len(legal) else rng.integers(0, mask["deepen"].shape)
    widen = rng.integers(0, 2, mask["widen"].shape, dtype=np.int8)
    return {"deepen": deepen, "widen": widen if len(legal) else widen & mask["widen"]}


def legal_actions(mask, rng):
    """The same for a batch of networks."""
    each = [
        legal_action({kind: part[i] for kind, part in mask.items() if kind in ("deepen", "widen")}, rng)
        for i in range(len(mask["widen"]))
    ]
    return {kind: np.stack([action[kind] for action in each]) for kind in ("deepen", "widen")}


def rollout(env, *, seed, actions, episodes=1):
    """What `reset` and every `step` of some episodes give; `actions` seeds the choice among the legal ones."""
    rng, steps = np.random.default_rng(actions), []
    for episode in range(episodes):
        observation, info = env.reset(seed=None if episode else seed)
        steps.append((observation, 0.0, False, False, info))
        while not steps[-1][TERMINATED]:
            steps.append(env.step(legal_action(steps[-1][INFO]["action_mask"], rng)))
    return steps


def surrogate(name="EAS-Surrogate-v0", **kwargs):
    """A registered environment with the closed form behind it."""
    return gym.make(name, **({"evaluator": "surrogate"} | kwargs))
