"""Children on the digits in one process, in two workers, and with Ray: how long a batch takes, and who grows.

All engines train the same children with the same seeds and one thread for each operation, take turns, and must give the
same results to the last bit. Prints seconds, ratios, and the megabytes of this process and of the workers over time.
"""

import importlib.util
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import psutil
import tyro

from eas_tf.errors import exit_code
from eas_tf.evaluation import Request, Result
from eas_tf.machine import usable_cores
from eas_tf.training.silence import silent_import


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Time engines on the same children."""

    children: int = 20
    """In a batch."""
    repetitions: int = 3
    """Batches of each engine, taking turns."""
    growth: int = 200
    """Children of two workers over which the growth of this process is measured; 0 for none."""


def megabytes() -> tuple[float, float]:
    """Resident memory of this process, and of all that it has started."""
    this = psutil.Process()
    return this.memory_info().rss / 1e6, sum(each.memory_info().rss for each in this.children(recursive=True)) / 1e6


def main(argv: Sequence[str] | None = None) -> int:
    """Print a line for each engine, then the growth."""
    bench = tyro.cli(Bench, args=argv, prog="bench_pool.py")
    from eas_tf.evaluation.worker import configure

    with silent_import():
        configure(threads=1, operations=usable_cores())
    with tempfile.TemporaryDirectory() as folder:
        run(bench, Path(folder))
    return 0


def run(bench: Bench, folder: Path) -> None:
    """Time all engines."""
    from eas_tf.evaluation.engine_config import EngineConfig
    from eas_tf.evaluation.engines import make_engine
    from eas_tf.evaluation.start import start_family
    from eas_tf.search.config import SearchConfig
    from eas_tf.search.plan import Plan
    from eas_tf.search.sampling import random_children
    from eas_tf.training.trainer import Trainer

    plan = Plan.of(SearchConfig(output=folder / "run"))
    trainer = Trainer(plan.images)
    family = start_family(
        trainer, plan.images, plan.start, plan.recipe, epochs=plan.config.start_epochs, seed=0, cache=folder
    )
    asked = random_children(plan, bench.children)
    configs = {"one process": EngineConfig(engine="inline"), "two workers": EngineConfig(workers=2)}
    if importlib.util.find_spec("ray"):
        configs["Ray, two workers"] = EngineConfig(engine="ray", workers=2, ray_address="local")
    engines = {name: make_engine(config, trainer, plan.images, folder) for name, config in configs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    results: dict[str, dict[int, Result]] = {}
    try:
        for repetition in range(bench.repetitions + 1):
            for name, engine in engines.items():
                start = time.perf_counter()
                found = {
                    n: replace(child.result, seconds=0.0)
                    for n, child in engine.run([(family, request) for request in asked])
                }
                seconds[name].append(time.perf_counter() - start)
                same = found == results.setdefault("one process", found)
                ours, theirs = megabytes()
                print(
                    f"{f'turn {repetition}' if repetition else 'warm-up'}, {name}: {seconds[name][-1]:.1f} s, results "
                    f"{'equal' if same else 'DIFFER'}; this process {ours:,.0f} MB, all workers {theirs:,.0f} MB",
                    flush=True,
                )
        medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
        for name, value in medians.items():
            ratio = medians["one process"] / value
            print(f"{name}: {value:.1f} s for {bench.children} children, {ratio:.2f} times as fast")
        if bench.growth:
            measure_growth(engines["two workers"], family, random_children(plan, bench.growth))
    finally:
        for engine in engines.values():
            engine.close()


def measure_growth(engine: Any, family: Any, asked: Sequence[Request]) -> None:
    """Train children with an engine, and print the memory after each tenth."""
    before, _ = megabytes()
    children = engine.run([(family, request) for request in asked])
    tenth = len(asked) // 10
    for part in range(10):
        for _ in islice(children, tenth):
            pass
        ours, theirs = megabytes()
        print(f"{(part + 1) * tenth} children: this process {ours:,.0f} MB, all workers {theirs:,.0f} MB", flush=True)
    print(f"this process grew by {(ours - before) / len(asked):.3f} MB a child over {len(asked)} children")


if __name__ == "__main__":
    sys.exit(exit_code(main))
