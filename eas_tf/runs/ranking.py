"""Which networks of a run are better than others."""

from collections.abc import Iterable
from itertools import accumulate

from eas_tf.metrics import Metric
from eas_tf.runs.record import Network


def _place(network: Network) -> tuple[bool, float, int, int]:
    return network.kind != "final", -network.score, network.parameters, network.id


def ranked(networks: Iterable[Network]) -> list[Network]:
    """The networks that did not fail, best score first; of equals the smaller, then the earlier.

    What was trained to its end stands before all others: the best of many on few images is lucky, and it was not chosen
    by its score.
    """
    return sorted((n for n in networks if not n.failure), key=_place)


def best_so_far(networks: Iterable[Network]) -> list[Network]:
    """For each network that did not fail, by number, the best of it and those before it."""
    finished = sorted((n for n in networks if not n.failure), key=lambda n: n.id)

    def better(best: Network, network: Network) -> Network:
        return min(best, network, key=_place)

    return list(accumulate(finished, better))


def pareto_front(networks: Iterable[Network], metric: Metric = "accuracy") -> list[Network]:
    """The networks that no other one beats in the metric and in parameters, smallest first.

    One network beats another that is at most as good and has at least its parameters, and differs in one of them. Of
    equals in both the earlier one stands for all.
    """
    front: list[Network] = []
    worth = {network: network.worth(metric) for network in networks if not network.failure}
    for network in sorted(worth, key=lambda n: (n.parameters, -worth[n], n.id)):
        if not front or worth[network] > worth[front[-1]]:
            front.append(network)
    return front


def is_priced(networks: Iterable[Network], metric: Metric = "accuracy") -> bool:
    """Whether size costs something, so that a score is not what the metric says."""
    return any(network.score != network.worth(metric) for network in networks if not network.failure)
