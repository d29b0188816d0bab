"""A whole search: the start network, batches of episodes, the record, the end."""

from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np

from eas_tf import data
from eas_tf.agents import make_agent
from eas_tf.architecture import PlainCNN, space_named
from eas_tf.envs import EASVectorEnv
from eas_tf.evaluation import Request, Result
from eas_tf.evaluation.train import TrainEvaluator, check_fits, train_start
from eas_tf.search.config import SearchConfig
from eas_tf.search.episodes import play
from eas_tf.search.progress import Progress
from eas_tf.search.report import draw_progress, leaderboard, line
from eas_tf.search.run_directory import Network, RunDirectory, check_free
from eas_tf.surgery import LayerGraph, save_network
from eas_tf.training import RATE_FROM_SCRATCH, Recipe, Trainer, make_strategy

#: Networks that an agent samples before it learns (paper: 10).
BATCH_OF_NETWORKS = 10


class _Record:
    """Commits each network as it is finished, says so, and keeps the best one's weights."""

    def __init__(self, run: RunDirectory, progress: Progress) -> None:
        self.networks: list[Network] = []
        self._run, self._progress = run, progress

    def __call__(self, request: Request, result: Result, graph: LayerGraph | None) -> None:
        number = len(self.networks)
        network = Network(
            id=number,
            batch=(number + BATCH_OF_NETWORKS - 1) // BATCH_OF_NETWORKS,
            parent=request.parent,
            transformations=" ".join(map(str, request.transformations)),
            seed=request.seed,
            architecture=str(request.architecture),
            parameters=request.architecture.parameter_count,
            accuracy=result.accuracy,
            loss=result.loss,
            seconds=result.seconds,
            failure=result.failure or "",
        )
        if graph is not None and all(network.accuracy > other.accuracy for other in self.networks):
            save_network(graph, self._run.best)
        self._run.record(network)
        self.networks.append(network)
        self._progress.network(line(network, self.networks[0]))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Plan:
    """All that is known, and found to fit together, before anything is written."""

    config: SearchConfig
    output: Path
    images: data.ImageData
    start: PlainCNN
    trainer: Trainer
    recipe: Recipe
    """For children."""


def search(config: SearchConfig, progress: Progress) -> Path:
    """Run a search. Ctrl-C ends it with what is finished.

    Args:
        config: What to search.
        progress: Told of all that happens.

    Returns:
        The run directory: `config.json`, `split.json`, `run.sqlite`, `start.keras`, `best.keras`, `progress.png`.

    Raises:
        EASError: If the configuration, the data and the start network do not fit together; nothing is written then.
        TrainingDiverged: If the start network's training diverges.
        KeyboardInterrupt: If the search was interrupted, after all that is finished was written.
    """
    plan = _prepare(config.resolved())
    with RunDirectory(plan.output) as run, progress:
        run.write_config(plan.config.as_json())
        run.write_split(plan.images.fingerprint, plan.images.validation_indices)
        record = _Record(run, progress)
        try:
            _run(plan, run, record, progress)
        finally:
            if record.networks:
                _finish(plan, run, progress)
    return run.path


def _prepare(config: SearchConfig) -> _Plan:
    output = config.output or Path()
    check_free(output)
    space = space_named(config.space or "", config.max_params)
    images = data.load(config.dataset, data_dir=config.data_dir, download=config.download)
    if config.start is None:
        start = space.start_network(images.input_shape, images.classes)
    else:
        start = PlainCNN.parse(config.start, images.input_shape)
    check_fits(start, images)
    space.check(start)
    recipe = Recipe(epochs=config.epochs or 0, batch=config.batch or 0, crop_and_flip=images.crop_and_flip)
    trainer = Trainer(images, make_strategy(config.strategy))
    trainer.check_batch(recipe.batch)
    return _Plan(config=config, output=output, images=images, start=start, trainer=trainer, recipe=recipe)


def _run(plan: _Plan, run: RunDirectory, record: _Record, progress: Progress) -> None:
    config, recipe = plan.config, plan.recipe
    seeds = np.random.SeedSequence(config.seed).spawn(3)
    start_seed, env_seed = (int(seed.generate_state(1)[0] >> 1) for seed in seeds[:2])
    start_recipe = replace(recipe, epochs=config.start_epochs or 0, learning_rate=RATE_FROM_SCRATCH)
    trained = train_start(
        plan.trainer,
        plan.images,
        plan.start,
        start_recipe,
        seed=start_seed,
        on_epoch=lambda epoch, loss: progress.epoch(epoch, start_recipe.epochs, loss),
    )
    save_network(trained.graph, run.path / "start.keras")
    result = Result(accuracy=trained.accuracy, loss=trained.loss, seconds=trained.seconds)
    record(Request(parent="", transformations=(), architecture=plan.start, seed=start_seed), result, trained.graph)
    evaluator = TrainEvaluator(
        plan.trainer,
        plan.images,
        recipe,
        plan.start,
        trained.graph,
        symmetry_breaking=config.symmetry_breaking,
        on_epoch=lambda epoch, loss: progress.epoch(epoch, recipe.epochs, loss),
        on_result=record,
    )
    _play_batches(plan, evaluator, env_seed, np.random.default_rng(seeds[2]), progress)


def _play_batches(
    plan: _Plan, evaluator: TrainEvaluator, env_seed: int, rng: np.random.Generator, progress: Progress
) -> None:
    config, agent, left = plan.config, None, plan.config.networks
    while left:
        size = min(BATCH_OF_NETWORKS, left)
        envs = EASVectorEnv(
            size,
            space=config.space or "",
            input_shape=plan.images.input_shape,
            classes=plan.images.classes,
            start=str(plan.start),
            schedule=config.schedule,
            max_parameters=config.max_params,
            evaluator=evaluator,
        )
        agent = agent or make_agent(config.agent, envs.single_observation_space, envs.single_action_space, rng=rng)
        envs.reset(seed=env_seed + config.networks - left)
        rewards, learned = play(envs, agent)
        left -= size
        account = "".join(f", {name} {value:.4g}" for name, value in learned.items())
        progress.say(f"batch of {size}: mean reward {rewards.mean():.3f}{account}")


def _finish(plan: _Plan, run: RunDirectory, progress: Progress) -> None:
    """The leaderboard, the picture, and what the saved network does on the images."""
    networks = run.networks()
    config = plan.config
    draw_progress(networks, f"{config.dataset}, {config.agent}, seed {config.seed}", run.path / "progress.png")
    progress.say(leaderboard(networks))
    images = plan.images
    best = keras.models.load_model(run.best, compile=False, safe_mode=True)
    progress.say(f"start network: validation accuracy {100 * networks[0].accuracy:.2f} %")
    text = f"best network:  validation accuracy {100 * accuracy(best, images.x_val, images.y_val):.2f} %"
    if images.x_test is not None and images.y_test is not None:
        text += f", test accuracy {100 * accuracy(best, images.x_test, images.y_test):.2f} %"
    progress.say(f"{text}, in {run.best}")


def accuracy(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> float:
    """The fraction of raw images `[n, height, width, channels]` that a model classifies right."""
    return float((model.predict(images, batch_size=512, verbose=0).argmax(-1) == labels).mean())
