"""A whole search: the start network, batches of episodes, the record, the end."""

import json
from contextlib import ExitStack, closing

import keras
import numpy as np

from eas_tf.agents import make_agent
from eas_tf.evaluation import Request, Result
from eas_tf.evaluation.cache import ResultCache
from eas_tf.evaluation.child import Family
from eas_tf.evaluation.engine import Engine, make_engine
from eas_tf.evaluation.start import train_start
from eas_tf.evaluation.train import GiveNetwork, TrainEvaluator
from eas_tf.search.episodes import make_envs, play
from eas_tf.search.plan import Plan
from eas_tf.search.progress import Progress
from eas_tf.search.report import draw_progress, leaderboard, line, ranked
from eas_tf.search.run_directory import Network, RunDirectory
from eas_tf.surgery import save_network
from eas_tf.training.strategy import make_strategy
from eas_tf.training.trainer import Trainer

#: Networks that an agent samples before it learns (paper: 10).
BATCH_OF_NETWORKS = 10


class _Record:
    """Commits each network as it is finished, says so, and keeps the best one's weights."""

    def __init__(self, run: RunDirectory, progress: Progress) -> None:
        self.networks: list[Network] = []
        self._run, self._progress = run, progress

    def child(self, number: int, request: Request, result: Result, trained: GiveNetwork) -> None:
        """Child number so and so, from 0, is finished."""
        self.network(number + 1, request, result, trained)

    def network(self, number: int, request: Request, result: Result, trained: GiveNetwork) -> None:
        """A network is finished; the start network is number 0."""
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
            reused=result.reused,
            curve=json.dumps(result.curve),
            stopped=result.stopped,
        )
        self.networks.append(network)
        if ranked(self.networks)[:1] == [network] and (graph := trained()):
            save_network(graph, self._run.best)
        self._run.record(network)
        self._progress.network(line(network, self.networks[0]))


def search(plan: Plan, progress: Progress) -> None:
    """Run a search, and leave in `plan.output` what it found. Ctrl-C ends it with what is finished.

    The directory then holds `config.json`, `split.json`, `run.sqlite`, `start.keras`, `best.keras`, `progress.png`.

    Args:
        plan: What to search.
        progress: Told of all that happens.

    Raises:
        InvalidConfiguration: If the devices cannot share a batch equally; nothing is written then.
        TrainingDiverged: If the start network's training diverges.
        KeyboardInterrupt: If the search was interrupted, after all that is finished was written.
    """
    config = plan.config
    trainer = Trainer(plan.images, make_strategy(config.strategy))
    trainer.check_batch(config.batch)
    with ExitStack() as ends:
        engine = make_engine(
            config,
            trainer,
            plan.images,
            config.output,
            on_epoch=lambda epoch, loss: progress.epoch(epoch, plan.recipe.epochs, loss),
        )
        ends.enter_context(closing(engine))
        cache = ends.enter_context(closing(ResultCache(config.cache))) if config.cache else None
        run = ends.enter_context(RunDirectory(config.output))
        ends.enter_context(progress)
        run.write_config(config.as_json())
        run.write_split(plan.images.fingerprint, plan.images.validation_indices)
        engine.start()
        progress.say(f"children are trained by {engine}")
        try:
            _run(plan, trainer, engine, cache, run, progress)
        finally:
            _finish(plan, run, progress)


def _run(
    plan: Plan, trainer: Trainer, engine: Engine, cache: ResultCache | None, run: RunDirectory, progress: Progress
) -> None:
    seeds = np.random.SeedSequence(plan.config.seed).spawn(3)
    start_seed, env_seed = (int(seed.generate_state(1)[0] >> 1) for seed in seeds[:2])
    trained = train_start(
        trainer,
        plan.images,
        plan.start,
        plan.start_recipe,
        seed=start_seed,
        on_epoch=lambda epoch, loss: progress.epoch(epoch, plan.start_recipe.epochs, loss),
    )
    save_network(trained.graph, run.start)
    record = _Record(run, progress)
    request = Request(parent="", transformations=(), architecture=plan.start, seed=start_seed)
    result = Result(accuracy=trained.accuracy, loss=trained.loss, seconds=trained.seconds)
    record.network(0, request, result, lambda: trained.graph)
    family = Family(
        parent=run.start,
        digest=trained.graph.digest,
        architecture=plan.start,
        data=plan.images.fingerprint,
        recipe=plan.recipe,
        symmetry_breaking=plan.config.symmetry_breaking,
    )
    evaluator = TrainEvaluator(
        family,
        engine,
        validation_images=len(plan.images.x_val),
        stopping=plan.config.stopping,
        cache=cache,
        on_result=record.child,
    )
    _play_batches(plan, evaluator, env_seed, np.random.default_rng(seeds[2]), progress)


def _play_batches(
    plan: Plan, evaluator: TrainEvaluator, env_seed: int, rng: np.random.Generator, progress: Progress
) -> None:
    config, agent, left = plan.config, None, plan.config.networks
    while left:
        size = min(BATCH_OF_NETWORKS, left)
        envs = make_envs(plan, size, evaluator)
        agent = agent or make_agent(config.agent, envs.single_observation_space, envs.single_action_space, rng=rng)
        envs.reset(seed=env_seed + config.networks - left)
        rewards, learned = play(envs, agent)
        left -= size
        account = "".join(f", {name} {value:.4g}" for name, value in learned.items())
        progress.say(f"batch of {size}: mean reward {rewards.mean():.3f}{account}")


def _finish(plan: Plan, run: RunDirectory, progress: Progress) -> None:
    """The leaderboard, the picture, and what the saved network does on the images."""
    networks, config = run.networks(), plan.config
    if not networks:
        return
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
