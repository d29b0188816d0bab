"""What an agent has learned in a run, batch by batch, so that a search that ended at any moment goes on as it was."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from eas_tf.agents import make_agent
from eas_tf.agents.answers import state_of
from eas_tf.agents.base import Agent, Outcome
from eas_tf.envs.transition import reward
from eas_tf.evaluation import SurrogateEvaluator
from eas_tf.runs.directory import GENERATIONS, RunDirectory
from eas_tf.runs.progress import Progress
from eas_tf.runs.record import Batch, Network
from eas_tf.search.episodes import make_envs
from eas_tf.search.networks import Networks
from eas_tf.search.plan import Plan


class Learning:
    """The batches of a run, and the agent's state after each.

    Attributes:
        batches: By number from 1.
        start_seed: Decides the start network's weights and training.
        env_seed: Decides the seeds of children, together with the number of those before.

    Args:
        plan: What is searched.
        run: Where batches and states are kept.
        networks: All of the run so far.
        progress: Told of what the agent learns.
    """

    def __init__(self, plan: Plan, run: RunDirectory, networks: Networks, progress: Progress) -> None:
        self._plan, self._run, self._networks, self._progress = plan, run, networks, progress
        self.batches = {batch.id: batch for batch in run.record.batches()}
        seeds = np.random.SeedSequence(plan.config.seed).spawn(3)
        self.start_seed, self.env_seed = (int(seed.generate_state(1)[0] >> 1) for seed in seeds[:2])
        self._rng = np.random.default_rng(seeds[2])

    def agent(self, population: int = 0) -> Agent:
        """One that has learned nothing.

        Args:
            population: How many of the latest networks keep their weights, at least.
        """
        envs = make_envs(self._plan, 1, SurrogateEvaluator(self._plan.space))
        agent = make_agent(
            self._plan.config.agent, envs.single_observation_space, envs.single_action_space, rng=self._rng
        )
        self._networks.population = max(agent.population, population)
        return agent

    def restore(self, agent: Agent) -> int:
        """Give it the latest state there is, and tell after which batch that was; 0 if there is none."""
        for batch in sorted(self.batches.values(), key=lambda batch: -batch.id):
            if batch.state and (state := self._state(batch)) is not None:
                agent.restore(state)
                return batch.id
        return 0

    def _state(self, batch: Batch) -> dict[str, np.ndarray] | None:
        state = self._run.read_state(batch)
        finished = sum(bool(each.state) for each in self.batches.values())
        if state is None and batch.id > finished - GENERATIONS:
            self._progress.say(
                f"{self._run.path / batch.state} is damaged or not there: the agent learns again from the record, from "
                "the batch before."
            )
        return state

    def outcomes(self, networks: Iterable[Network]) -> list[Outcome]:
        """What an agent is told of networks."""
        return [
            Outcome(
                architecture=network.architecture,
                reward=reward(network.score, self._plan.validation_images),
                parent="" if network.parent is None else self._networks[network.parent].architecture,
                failure=network.failure,
            )
            for network in networks
        ]

    def begin(self, batch: Batch) -> None:
        """Record a batch whose networks come now."""
        self._run.record.add(batch, seconds=self._networks.seconds())
        self.batches[batch.id] = batch

    def end(self, number: int, outcomes: Sequence[Outcome], learned: dict[str, float], agent: Agent) -> None:
        """Record what came out, and the agent's state; what was kept to come here is not needed any more."""
        mean = float(np.mean([outcome.reward for outcome in outcomes]))
        name, digest = self._run.write_state(number, state_of(agent))
        batch = replace(self.batches[number], reward=mean, learned=json.dumps(learned), state=name, sha256=digest)
        self.begin(batch)
        self._run.forget_checkpoints()
        self._run.forget_states(before=number - GENERATIONS + 1)
        self._run.copy_record()
        account = "".join(f", {name} {value:.4g}" for name, value in learned.items())
        self._progress.say(f"batch of {batch.size}: mean reward {mean:.3f}{account}")
