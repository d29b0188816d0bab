"""Do replicas separate, and what does it cost? The three ways of breaking symmetry, on real training.

    python scripts/compare_symmetry.py cifar10.npz

A small network is trained, both its convolutions and its dense layer are doubled, and the wider network is trained on:
with equal shares and nothing else (replicas get equal gradients), with unequal shares, and with the paper's noise.
Prints a Markdown table: the distance between the kernels of replicas and their originals, relative to the originals'
length, before training and after 100 steps, and the validation accuracy after a few epochs.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from eas_tf import data
from eas_tf.architecture import PlainCNN
from eas_tf.errors import exit_code
from eas_tf.surgery import LayerGraph, initialise, lower, output_difference
from eas_tf.surgery.widen import Strands, with_replicas
from eas_tf.training.recipe import RATE_FROM_SCRATCH, Recipe
from eas_tf.training.trainer import Trainer

SEEDS, PARENT_EPOCHS, EPOCHS, BATCH, STEPS = 5, 4, 4, 64, 100
NETWORK = "C(16,3,1), P(2,2,MAX), C(32,3,1), P(4,4,AVG), FC(64), SM({classes})"
WAYS = ("equal shares", "unequal shares", "noise")


def doubled(parent: LayerGraph, way: str, rng: np.random.Generator) -> tuple[LayerGraph, dict[str, np.ndarray]]:
    """The parent with twice the channels, and the source of each channel of the layers that were widened."""
    graph, sources = parent, {}
    for name, channels in Strands(parent).widenable().items():
        strands = Strands(graph)
        made = strands.channels[name]
        replicas = strands.coupling.replicas(made, 2 * channels, rng=rng, equal_shares=way != "unequal shares")
        sources[name] = np.repeat(np.arange(channels), replicas.counts[strands.coupling.roots(made)])
        graph = with_replicas(strands, replicas, rng if way == "noise" else None)
    return graph, sources


def distance(graph: LayerGraph, sources: dict[str, np.ndarray]) -> float:
    """The mean over replicas of their kernels' distance from the original's, relative to its length."""
    found = []
    for name, source in sources.items():
        kernel = graph[name].weights[0].reshape(-1, len(source))
        first = np.searchsorted(source, source)
        replicas = np.flatnonzero(first != np.arange(len(source)))
        originals = kernel[:, first[replicas]]
        found.append(np.linalg.norm(kernel[:, replicas] - originals, axis=0) / np.linalg.norm(originals, axis=0))
    return float(np.concatenate(found).mean())


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    images = data.load(arguments[0] if arguments else "synthetic")
    short = replace(images, x_train=images.x_train[: BATCH * STEPS], y_train=images.y_train[: BATCH * STEPS])
    trainer, hundred_steps = Trainer(images), Trainer(short)
    architecture = PlainCNN.parse(NETWORK.format(classes=images.classes), images.input_shape)
    results: dict[str, list[tuple[float, ...]]] = {way: [] for way in WAYS}
    for seed in range(SEEDS):
        start = initialise(lower(architecture, images.mean, images.std), rng=np.random.default_rng(seed))
        recipe = Recipe(epochs=PARENT_EPOCHS, learning_rate=RATE_FROM_SCRATCH)
        parent = trainer.train(start, recipe, seed=seed)
        for way in WAYS:
            child, sources = doubled(parent.graph, way, np.random.default_rng([seed, 1]))
            changed = output_difference(parent.graph.to_keras(), child.to_keras(), images.x_val[:256].astype("float32"))
            after = hundred_steps.train(child, Recipe(epochs=1), seed=seed).graph
            trained = trainer.train(child, Recipe(epochs=EPOCHS), seed=seed)
            row = changed, distance(child, sources), distance(after, sources), parent.accuracy, trained.accuracy
            results[way].append(row)
            print(f"seed {seed}, {way}: " + ", ".join(f"{value:.3g}" for value in row), file=sys.stderr, flush=True)
    print(
        f"| {images.name}, {SEEDS} seeds | outputs changed by | distance before | after {STEPS} steps | parent % |",
        end="",
    )
    print(f" after {EPOCHS} epochs % |\n|---|---|---|---|---|---|")
    for way, rows in results.items():
        changed, before, after, parent_accuracy, accuracy = np.array(rows).T
        print(
            f"| {way} | {changed.max():.1e} | {before.mean():.4f} | {after.mean():.4f} ± {after.std(ddof=1):.4f} | "
            f"{100 * parent_accuracy.mean():.2f} | {100 * accuracy.mean():.2f} ± {100 * accuracy.std(ddof=1):.2f} |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
