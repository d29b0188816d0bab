"""REINFORCE (Williams 1992), with which the EAS paper trains its controller.

TensorFlow is imported when an agent is made, so that a command line can be built from `ReinforceConfig` without it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

import gymnasium
import numpy as np

from eas_tf.agents.base import Agent, Batch, Outcome
from eas_tf.agents.baseline import MovingAverage
from eas_tf.agents.spaces import Sizes, Step
from eas_tf.agents.state import check_state, generator_state, restore_generator
from eas_tf.errors import InvalidConfiguration
from eas_tf.fields import check_fields

if TYPE_CHECKING:
    from eas_tf.agents.policy import Samples


@dataclass(frozen=True, kw_only=True)
class ReinforceConfig:
    """How the controller learns. The defaults are the paper's; what it leaves open is its code's."""

    learning_rate: float = 2e-3
    """Adam's step size (code)."""
    entropy_bonus: float = 1e-5
    """Weight of the entropy in the loss, in units of reward per nat (code)."""
    baseline_decay: float = 0.95
    """Weight that a batch's mean reward keeps in the baseline with each batch after it (paper, training details)."""
    baseline_sees_batch: bool = False
    """Whether a batch enters the baseline before it is compared with it: the code's reading; see `MovingAverage`."""

    def __post_init__(self) -> None:
        check_fields(self)
        for what, value, legal in (
            ("learning rate must be positive", self.learning_rate, 0 < self.learning_rate < inf),
            ("entropy bonus must not be negative", self.entropy_bonus, 0 <= self.entropy_bonus < inf),
            ("baseline's decay must be from 0 to below 1", self.baseline_decay, 0 <= self.baseline_decay < 1),
        ):
            if not legal:
                raise InvalidConfiguration(f"The {what}. Received: {value}")


@dataclass(kw_only=True)
class _Trajectory:
    """The decisions of one batch of episodes, step by step."""

    networks: int
    steps_left: int
    steps: list[tuple[Step, np.ndarray]] = field(default_factory=list)

    def samples(self, sizes: Sizes) -> tuple[tuple["Samples", ...], np.ndarray]:
        """All decisions of each kind, step after step, networks in order; and whose they are, `[samples]`."""
        from eas_tf.agents.policy import Samples

        samples, networks = [], []
        for kind, decisions in sizes.nothing(0).items():
            places = np.zeros((0, *(sizes.kinds[kind] or (sizes.max_layers,))), bool)
            chosen = [(np.zeros((0, sizes.max_layers), np.int32), places, decisions)]
            for step, taken in self.steps:
                if step.kind == kind:
                    chosen.append((step.tokens, step.legal, taken))
                    networks.append(step.networks)
            samples.append(Samples(*(np.concatenate(arrays) for arrays in zip(*chosen, strict=True))))
        return tuple(samples), np.concatenate(networks)


class ReinforceAgent(Agent):
    """The paper's controller, trained by REINFORCE with a moving-average baseline.

    One update per batch of episodes; no discount: all decisions of a network share its advantage R - b, which is
    neither clipped nor divided by a standard deviation.

    Args:
        observation_space: Of a single environment.
        action_space: Likewise.
        rng: Where initial weights and decisions come from. The same generator and rewards give the same decisions.
        config: How it learns; the paper's settings by default.

    Raises:
        InvalidConfiguration: If the spaces are not those of an EAS environment.
    """

    def __init__(
        self,
        observation_space: gymnasium.Space,
        action_space: gymnasium.Space,
        *,
        rng: np.random.Generator,
        config: ReinforceConfig | None = None,
    ) -> None:
        self._sizes = Sizes.of(observation_space, action_space)
        from eas_tf.agents.learner import Learner
        from eas_tf.agents.policy import Policy

        self._config = config or ReinforceConfig()
        self._rng = rng
        self._baseline = MovingAverage(self._config.baseline_decay)
        self._trajectory: _Trajectory | None = None
        self.policy = Policy(self._sizes, rng=rng)
        self._learner = Learner(
            self.policy, learning_rate=self._config.learning_rate, entropy_bonus=self._config.entropy_bonus
        )

    def act(self, observation: Batch, mask: Batch) -> dict[str, np.ndarray]:
        """Decide one step for every network and remember it; see `Agent.act`.

        An observation with no fewer steps left than the one before starts a new batch of episodes; one that was not
        learned from is then forgotten, so a policy can be tried without training it.

        Raises:
            InvalidConfiguration: If observation or mask are not as the spaces say, or the batch changed its size
                within its episodes.
        """
        steps, left = self._sizes.read(observation, mask)
        actions = self._sizes.nothing(len(observation["layers"]))
        if not steps:
            return actions
        trajectory = self._begin(len(observation["layers"]), left)
        for step in steps:
            actor = self.policy.actors[step.kind]
            noise = self._rng.random((len(step.networks), actor.choices), dtype=np.float32)
            decisions = self.policy.sample(step.kind, step.tokens, step.legal, noise).numpy()
            trajectory.steps.append((step, decisions))
            actions[step.kind][step.networks] = decisions
        return actions

    def _begin(self, networks: int, left: int) -> _Trajectory:
        if self._trajectory is None or left >= self._trajectory.steps_left:
            self._trajectory = _Trajectory(networks=networks, steps_left=left)
        if networks != self._trajectory.networks:
            raise InvalidConfiguration(
                f"A batch keeps its {self._trajectory.networks} networks to the end of their episodes. "
                f"Received: {networks}"
            )
        self._trajectory.steps_left = left
        return self._trajectory

    def learn(self, outcomes: Sequence[Outcome]) -> dict[str, float]:
        """Update the policy once, on all decisions since the batch began; see `Agent.learn`.

        Returns:
            `baseline`, `advantage` (mean), `entropy` (nats a network, all steps), `loss` and `gradient_norm`.

        Raises:
            InvalidConfiguration: If nothing was decided since the last call, or there is not one outcome with a finite
                reward for each network. Nothing is changed or forgotten then.
        """
        if self._trajectory is None:
            raise InvalidConfiguration("There is nothing to learn from: call act() for each step of a batch first.")
        rewards = np.array([outcome.reward for outcome in outcomes], np.float64)
        if rewards.shape != (self._trajectory.networks,) or not np.isfinite(rewards).all():
            raise InvalidConfiguration(
                f"Give an outcome with a finite reward for each of the {self._trajectory.networks} networks. Received "
                f"the rewards {rewards}"
            )
        baseline = self._baseline_for(float(rewards.mean()))
        diagnostics = self._update(self._trajectory, rewards - baseline)
        self._trajectory = None
        return {"baseline": baseline, "advantage": float(rewards.mean()) - baseline, **diagnostics}

    def state(self) -> dict[str, np.ndarray]:
        """Policy, optimizer, baseline and generator, without an unfinished batch of episodes; see `Agent.state`."""
        return {
            **{f"learner/{number}": variable.numpy() for number, variable in enumerate(self._learner.variables)},
            "baseline": self._baseline.sums,
            "generator": generator_state(self._rng),
        }

    def restore(self, state: Batch) -> None:
        """Go on from a state; see `Agent.restore`."""
        check_state(state, self.state())
        for number, variable in enumerate(self._learner.variables):
            variable.assign(state[f"learner/{number}"])
        self._baseline.sums = state["baseline"]
        restore_generator(self._rng, state["generator"])
        self._trajectory = None

    def _baseline_for(self, mean: float) -> float:
        """What this batch is compared with, and the batch's entry into the average.

        Before the first batch there is no previous reward. Its own mean stands in: rewards are mostly positive, and
        compared with 0 every decision of the first batch would be reinforced, the bad ones too.
        """
        previous = self._baseline.value
        updated = self._baseline.update(mean)
        return updated if self._config.baseline_sees_batch or previous is None else previous

    def _update(self, trajectory: _Trajectory, advantages: np.ndarray) -> dict[str, float]:
        samples, whose = trajectory.samples(self._sizes)
        networks = np.float32(trajectory.networks)
        account = self._learner.update(samples, advantages[whose].astype(np.float32), networks)
        return {name: float(value) for name, value in account.items()}
