"""Do agents learn? REINFORCE and evolution against random search on the surrogate: `scripts/compare.py --help`."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import tyro
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import eas_tf
from eas_tf.agents import AGENTS, PASSING, make_agent
from eas_tf.architecture import space_named
from eas_tf.envs import EASVectorEnv
from eas_tf.errors import InvalidConfiguration, exit_code
from eas_tf.paths import expanded
from eas_tf.search.episodes import batches

#: Batches at the end over which rewards are averaged.
LAST = 5


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Run all agents on the surrogate, with the same budget, and draw their curves."""

    seeds: int = 5
    """Runs of each agent, with the seeds 0, 1, 2, ..."""
    batches: int = 60
    """Batches of networks in a run."""
    networks: int = 10
    """Networks in a batch (paper: 10)."""
    picture: Path = Path("comparison.png")
    """Where the curves are drawn: PNG or SVG."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "picture", expanded(self.picture))
        if min(self.seeds, self.batches, self.networks) < 1:
            raise InvalidConfiguration("--seeds, --batches and --networks must be at least 1.")
        if self.picture.suffix not in (".png", ".svg"):
            raise InvalidConfiguration(f"--picture must end in .png or .svg. Received: {self.picture}")


def mean_rewards(agent_name: str, seed: int, comparison: Comparison) -> np.ndarray:
    """The mean reward of each batch `[batches]` of one run."""
    space = space_named("paper", may_pass=agent_name in PASSING)
    envs = EASVectorEnv(comparison.networks, space=space, evaluator="surrogate")
    spaces = envs.single_observation_space, envs.single_action_space
    agent = make_agent(agent_name, *spaces, rng=np.random.default_rng(seed))
    envs.reset(seed=seed)
    played = islice(batches(envs, agent), comparison.batches)
    return np.array([np.mean([outcome.reward for outcome in outcomes]) for outcomes in played])


def draw(curves: dict[str, np.ndarray], path: Path) -> None:
    """The mean over seeds and the range between the lowest and the highest seed, for each agent."""
    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for (name, rewards), colour in zip(curves.items(), ("#e45756", "#4c78a8", "#54a24b"), strict=False):
        batches = np.arange(1, rewards.shape[1] + 1)
        axes.plot(batches, rewards.mean(0), color=colour, linewidth=1.8, label=name)
        axes.fill_between(batches, rewards.min(0), rewards.max(0), color=colour, alpha=0.2, linewidth=0)
    axes.set_xlabel("batch of networks")
    axes.set_ylabel("mean reward")
    axes.set_title(f"Surrogate, mean and range of {len(next(iter(curves.values())))} seeds", loc="left", fontsize=10)
    axes.grid(axis="y", linewidth=0.4, alpha=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path)


def main(argv: Sequence[str] | None = None) -> int:
    """Print what each seed reached, and the gaps with their spreads."""
    comparison = tyro.cli(Comparison, args=argv, prog="compare.py")
    start, curves = time.perf_counter(), {}
    for name in AGENTS:
        curves[name] = np.stack([mean_rewards(name, seed, comparison) for seed in range(comparison.seeds)])
        print(f"{name}: {comparison.seeds} runs, {time.perf_counter() - start:.0f} s so far", flush=True)
    reached = {name: rewards[:, -LAST:].mean(1) for name, rewards in curves.items()}
    print(f"mean reward of the last {LAST} batches")
    print("seed  " + "  ".join(f"{name:>10}" for name in AGENTS))
    for seed in range(comparison.seeds):
        print(f"{seed:4}  " + "  ".join(f"{reached[name][seed]:10.4f}" for name in AGENTS))
    for name in [name for name in AGENTS if name != "random"]:
        gaps = reached[name] - reached["random"]
        spread = gaps.std(ddof=1) if len(gaps) > 1 else float("nan")
        print(f"{name} over random: mean {gaps.mean():.4f}, standard deviation {spread:.4f}")
    draw(curves, comparison.picture)
    print(f"curves: {comparison.picture} (eas_tf {eas_tf.__version__}, {time.perf_counter() - start:.0f} s in all)")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
