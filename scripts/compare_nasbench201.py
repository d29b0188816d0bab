"""Agents on NAS-Bench-201, as a table: `python scripts/compare_nasbench201.py`.

In each run an agent sees so many cells. Of each it is told what one training reached on the validation images, as in a
search. What counts is a cell's mean over the benchmark's two or three trainings.
"""

import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from multiprocessing import get_context
from typing import Any

import numpy as np
import tyro

from eas_tf.agents import make_agent
from eas_tf.agents.evolution import EvolutionConfig
from eas_tf.agents.reinforce import ReinforceConfig
from eas_tf.architecture import parse_architecture, space_named
from eas_tf.envs import EASVectorEnv
from eas_tf.errors import exit_code
from eas_tf.evaluation.nasbench201 import NASBench201Evaluator
from eas_tf.machine import usable_cores
from eas_tf.search.episodes import batches

#: Agents by the names that they have in the table, with their settings and how many cells they take at once.
AGENTS: dict[str, tuple[str, Any, int]] = {
    "random search": ("random", None, 10),
    "evolution, population 50, sample 10": ("evolution", EvolutionConfig(), 1),
    "evolution, population 10, sample 3": ("evolution", EvolutionConfig(population=10, sample=3, mutations=1), 1),
    "REINFORCE, as in EAS": ("reinforce", ReinforceConfig(), 10),
    "REINFORCE, one cell at a time": ("reinforce", ReinforceConfig(baseline_decay=0.9), 1),
}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Compare agents on NAS-Bench-201 (extra `nasbench`), CIFAR-10."""

    cells: int = 100
    """Evaluations in a run."""
    runs: int = 200
    """Runs of each agent, each with a seed of its own."""


def best_of_runs(name: str, cells: int, seeds: Sequence[int]) -> list[tuple[float, float]]:
    """For each seed the best mean accuracy among all cells, and that of the cell whose reward was the best."""
    kind, config, batch = AGENTS[name]
    table = NASBench201Evaluator(space_named("nasbench201"))
    envs = EASVectorEnv(batch, space="nasbench201", evaluator=table)
    spaces = envs.single_observation_space, envs.single_action_space
    agent, found = make_agent(kind, *spaces, rng=np.random.default_rng(0), config=config), []
    for seed in seeds:
        # A new agent as the first one's state: TensorFlow would trace each for seconds.
        agent.restore(make_agent(kind, *spaces, rng=np.random.default_rng(seed), config=config).state())
        envs.reset(seed=batch * seed)
        history = [*islice(chain.from_iterable(batches(envs, agent)), cells)]
        means = [table.mean(parse_architecture(outcome.architecture)) for outcome in history]
        seen = max(range(cells), key=lambda number: history[number].reward)
        found.append((max(means), means[seen]))
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run all agents on all cores, and print a table."""
    config = tyro.cli(Comparison, args=argv, prog="compare_nasbench201.py")
    print(f"NAS-Bench-201, CIFAR-10, validation: {config.cells} cells a run, {config.runs} runs\n")
    print("| agent | the best cell: mean, standard deviation | the one that it takes for the best | seconds a run |")
    print("|---|---|---|---|", flush=True)
    cores = usable_cores()
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
        for name in AGENTS:
            began = time.perf_counter()
            shares = [range(first, config.runs, cores) for first in range(min(cores, config.runs))]
            found = 100 * np.concatenate(list(pool.map(partial(best_of_runs, name, config.cells), shares)))
            took = (time.perf_counter() - began) * len(shares) / config.runs
            spread = found.std(axis=0, ddof=1) if config.runs > 1 else np.zeros(2)
            best, taken = (f"{m:.2f} %, {s:.2f}" for m, s in zip(found.mean(axis=0), spread, strict=True))
            print(f"| {name} | {best} | {taken} | {took:.1f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
