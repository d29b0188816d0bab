"""The networks of a run: their rows in the record, and the weights of those that are needed again."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote

from eas_tf.architecture import Architecture
from eas_tf.errors import RunDamaged, SearchFailed, Stopped
from eas_tf.evaluation import Request
from eas_tf.evaluation.child import WORKER_ENDED, Child, Family
from eas_tf.evaluation.engine import UNLIMITED, Admission, Engine
from eas_tf.evaluation.start import digest_of
from eas_tf.report.leaderboard import line
from eas_tf.runs.directory import RunDirectory
from eas_tf.runs.progress import Progress
from eas_tf.runs.ranking import ranked
from eas_tf.runs.record import Network
from eas_tf.search.limits import FAILURES_IN_A_ROW, Limits
from eas_tf.search.plan import Plan
from eas_tf.search.rows import architecture_of, request_of, row
from eas_tf.search.starting import trained_on, trained_start
from eas_tf.storing import storing
from eas_tf.surgery import LayerGraph, save_network
from eas_tf.training.recipe import Recipe
from eas_tf.training.trainer import Trainer


class Networks:
    """All networks of a run so far. A network whose weights are lost is trained again when they are needed.

    Attributes:
        population: How many of the latest networks keep their weights, because an agent may choose them as parents.

    Args:
        plan: What is searched.
        run: Where rows and weights are kept.
        engine: Trains children.
        trainer: Trains the start network; None where an evaluator tells all accuracies.
        limits: Count failures, and end long trainings.
        progress: Told of each network.
    """

    def __init__(
        self, plan: Plan, run: RunDirectory, engine: Engine, trainer: Trainer | None, limits: Limits, progress: Progress
    ) -> None:
        self._plan, self._run, self._engine, self._trainer = plan, run, engine, trainer
        self._limits, self._progress = limits, progress
        self._rows = {network.id: network for network in run.record.networks()}
        self._forget_what_was_ended()
        self._whole: dict[int, str] = {}  # digests of networks whose weights are known to be on the disk as they were
        self._parents: dict[str, int] = {}
        self.population = 0
        self._since = time.monotonic()
        for network in self._rows.values():
            limits.count(network, earlier=True)

    def _forget_what_was_ended(self) -> None:
        """Train those again whose worker was ended, maybe from outside, as long as nothing was decided by that."""
        batches = self._run.record.batches()
        learned, stages = {batch.id for batch in batches if batch.state}, {batch.stage for batch in batches}

        def is_open(network: Network) -> bool:
            return network.stage not in stages if network.kind == "promoted" else network.batch not in learned

        ended = {n.id for n in self._rows.values() if n.failure.startswith(WORKER_ENDED) and is_open(n)}
        if ended:
            told = ", ".join(map(str, sorted(ended)))
            self._progress.say(f"trained again, because their workers were ended: {told}")
            self._run.record.forget(ended)
            self._rows = {number: network for number, network in self._rows.items() if number not in ended}

    def __getitem__(self, number: int) -> Network:
        return self._rows[number]

    def __contains__(self, number: object) -> bool:
        return number in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def all(self) -> list[Network]:
        """By number."""
        return [self._rows[number] for number in sorted(self._rows)]

    @property
    def best(self) -> Network:
        """The one with the best score."""
        return ranked(self.all)[0]

    def seconds(self) -> float:
        """Worked since the last call."""
        before, self._since = self._since, time.monotonic()
        return self._since - before

    def add(self, network: Network, graph: LayerGraph | None) -> None:
        """Take in a finished network: keep its weights if it is among the best, then commit its row, then say so.

        Raises:
            SearchFailed: If this is one failure too many.
        """
        rows = {**self._rows, network.id: network}
        order = ranked([rows[number] for number in sorted(rows)])
        kept = self._kept(rows, order)
        if graph and (network.id in kept or network.kind != "child"):
            self._save(network.id, graph)
        self._run.record.add(network, seconds=self.seconds())
        self._rows = rows
        if self._plan.trains and order[:1] == [network]:
            if not graph:
                self._digest(network.id)  # from the cache of another run
                kept.add(network.id)
            self._run.publish_best(network.id)
        if network.kind != "child":
            self._run.forget_checkpoints()
        self._run.keep_weights(kept | {*self._parents.values()} | ({network.id} if network.kind != "child" else set()))
        self._progress.network(line(network, self._rows[0], self._plan.config.metric))
        self._limits.count(network)
        if self._limits.hopeless:
            raise SearchFailed(
                f"{FAILURES_IN_A_ROW} children in a row failed, the last one so: {network.failure}. Mend the cause, "
                f"and go on with `resume` {quote(str(self._run.path))}"
            )

    def _kept(self, rows: Mapping[int, Network], order: Sequence[Network]) -> set[int]:
        """Whose weights stay: the best ones', and the latest ones' that may be parents."""
        every = [rows[number] for number in sorted(rows)]
        latest, parents = every[max(0, len(every) - self.population) :], grown_from(every, self.population)
        stay = [*order[: self._plan.config.keep], *latest]
        stay += [rows[parents[each.architecture]] for each in latest if not each.failure]
        # What was not trained for its row has weights only if they were needed, and then it was trained again.
        return {each.id for each in stay if not each.reused or self._run.weights(each.id).exists()}

    def architecture(self, number: int) -> Architecture:
        """Of a network."""
        return architecture_of(self._plan, self._rows[number])

    def request(self, number: int) -> Request:
        """What was asked for when a network was trained."""
        network = self._rows[number]
        parent = "" if network.parent is None else self._rows[network.parent].architecture
        return request_of(self._plan, network, parent)

    def grow_from(self, numbers: Iterable[int]) -> list[Family]:
        """Make networks, with different layer strings, the parents of what comes.

        Raises:
            RunDamaged: If weights are lost, and training the network again gives others.
        """
        self._parents = {self._rows[number].architecture: number for number in sorted(set(numbers))}
        return [self._family(number) for number in self._parents.values()]

    def parent(self, request: Request) -> int:
        """The number of the network that a child grows from."""
        return self._parents[request.parent]

    def _family(self, number: int) -> Family:
        digest = self._digest(number) if self._plan.trains else ""
        return self._family_of(self.architecture(number), self._run.weights(number), digest)

    def _family_of(self, architecture: Architecture, parent: Path, digest: str) -> Family:
        return Family(
            parent=parent,
            digest=digest,
            architecture=architecture,
            data=self._plan.loaded.fingerprint if self._plan.loaded else "",
            recipe=self._plan.recipe,
            symmetry_breaking=self._plan.config.symmetry_breaking,
        )

    def train_start(self, seed: int, seconds_left: Callable[[], float] | None = None) -> None:
        """Train the start network, unless it is recorded.

        Args:
            seed: Decides its weights and its training.
            seconds_left: For a training that ends with its time.

        Raises:
            Stopped: If somebody wants it to end, after the epoch.
        """
        if 0 not in self._rows:
            request = Request(parent="", transformations=(), architecture=self._plan.start, seed=seed)
            child, epochs = self._start(request, seconds_left), self._plan.start_recipe.epochs
            if seconds_left:
                epochs = max(1, round(child.result.epochs))
            self.add(row(self._plan, 0, "start", request, child, parent=None, stage=1, epochs=epochs), child.graph)

    def _start(self, request: Request, seconds_left: Callable[[], float] | None = None) -> Child:
        if not self._trainer:
            return self._child(self._family_of(self._plan.start, self._run.path, ""), request)
        return trained_start(self._plan, self._run, self._trainer, self._limits, self._progress, request, seconds_left)

    @property
    def final(self) -> Network | None:
        """The network that was trained to its end, in a search by the clock."""
        return next((network for network in self.all if network.kind == "final"), None)

    def train_final(self, best: Network, trainer: Trainer, recipe: Recipe, seconds_left: Callable[[], float]) -> None:
        """Train the network that was found for the time that is left.

        Raises:
            Stopped: If somebody wants it to end, after the epoch.
        """
        request = Request(
            parent=best.architecture, transformations=(), architecture=self.architecture(best.id), seed=best.seed
        )
        (family,), number = self.grow_from([best.id]), len(self._rows)
        child = trained_on(
            family.load(), recipe, self._run, trainer, self._limits, self._progress, best.seed, seconds_left
        )
        epochs = max(1, round(child.result.epochs))
        self.add(row(self._plan, number, "final", request, child, parent=best.id, stage=1, epochs=epochs), child.graph)

    def promote(self, stage: int) -> int:
        """The network that a stage grows from: the best one, trained longer, unless that is recorded or fails."""
        best, epochs = self.best, self._plan.config.promote_epochs
        promoted = [network for network in self.all if network.kind == "promoted" and network.stage == stage]
        if not promoted and epochs:
            (family,), recipe = self.grow_from([best.id]), replace(self._plan.recipe, epochs=epochs)
            request = Request(
                parent=best.architecture,
                transformations=(),
                architecture=family.architecture,
                seed=best.seed,
                recipe=recipe,
            )
            child, number = self._child(family, request, self._limits), len(self._rows)
            promoted = [row(self._plan, number, "promoted", request, child, parent=best.id, stage=stage, epochs=epochs)]
            self.add(promoted[0], child.graph)
        if promoted and promoted[0].failure:
            before = [network for network in self.all if network.id < promoted[0].id]
            return ranked(before)[0].id
        return promoted[0].id if promoted else best.id

    def _child(self, family: Family, request: Request, admission: Admission = UNLIMITED) -> Child:
        for _, child in self._engine.run([(family, request)], admission):
            return child
        raise Stopped("A network was not trained.")

    def _digest(self, number: int) -> str:
        """Of a network whose weights are on the disk, after this call as they were."""
        path = self._run.weights(number)
        if number not in self._whole or not path.exists():  # of a network that was not needed any more
            network = self._rows[number]
            digest = digest_of(path)
            if digest is None or network.digest not in ("", digest):
                self._progress.say(
                    f"network {number} is trained again: {path} is {'damaged' if path.exists() else 'not there'}"
                )
                digest = self._train_again(network)
            self._whole[number] = digest
        return self._whole[number]

    def _train_again(self, network: Network) -> str:
        request = self.request(network.id)
        child = self._start(request) if network.parent is None else self._child(self._family(network.parent), request)
        if not child.graph or network.digest not in ("", child.graph.digest):
            raise RunDamaged(
                f"{self._run.weights(network.id)} is lost, and network {network.id}, trained again, is another one: "
                "was it trained on another machine, or by other versions (config.json)? Copy the file back, or begin a "
                "new run."
            )
        self._save(network.id, child.graph)
        return child.graph.digest

    def _save(self, number: int, graph: LayerGraph) -> None:
        path = self._run.weights(number)
        with storing(path):
            path.parent.mkdir(exist_ok=True)
            save_network(graph, path)
        self._whole[number] = graph.digest

    def publish_best(self, *, train_again: bool) -> None:
        """See to it that `best.keras` is the best network.

        Args:
            train_again: Whether to train it if its weights are not there or damaged; else the file is left as it is.
        """
        if train_again:
            self._digest(self.best.id)
        if self._run.weights(self.best.id).exists():
            self._run.publish_best(self.best.id)


def grown_from(networks: Sequence[Network], population: int) -> dict[str, int]:
    """The network that children of each layer string grow from: networks with the same layers are one parent.

    It is the best of those whose weights are kept: the latest, and the start network. If there is none, it is the best
    that was trained for its row. Rows decide that, and not the disk, so that a search that goes on decides alike.

    Args:
        networks: By number.
        population: How many of the latest may be parents.
    """
    kept = {0, *(network.id for network in networks[max(0, len(networks) - population) :] if not network.reused)}
    order = sorted(ranked(networks), key=lambda network: (network.id not in kept, network.reused))
    return {network.architecture: network.id for network in reversed(order)}
