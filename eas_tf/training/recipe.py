"""How a network is trained: every constant of the EAS paper, section "Experiments and Results", and some options."""

from dataclasses import asdict, dataclass
from math import inf
from typing import Any

from eas_tf.errors import InvalidConfiguration
from eas_tf.fields import check_fields
from eas_tf.metrics import Metric

#: Initial learning rate of a network that is trained from random weights (the paper's final training).
RATE_FROM_SCRATCH = 0.1

#: Beyond it next to nothing is left of a layer.
MAX_DROPOUT = 0.95


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Nesterov SGD with a cosine to zero, and L2. The defaults are the paper's for children."""

    epochs: int = 20
    """Passes over the training images (paper: 20 for a child)."""
    batch: int = 64
    """Images in one step, over all devices together (paper: 64)."""
    seconds: float | None = None
    """Train for so long instead, and validate within that time, too; the cosine falls to zero at its end. None for
    epochs (paper)."""
    learning_rate: float = 0.02
    """Initial rate, which falls along a cosine to zero, step by step (paper: 0.02 for a child, 0.1 from scratch)."""
    momentum: float = 0.9
    """Nesterov momentum (paper: 0.9)."""
    weight_decay: float = 1e-4
    """L2: this, times half the sum of squares of all trainable weights, batch norm's included, is added to the loss
    (paper's code: 1e-4)."""
    crop_and_flip: bool = False
    """Pad by 4 pixels, crop at random, flip left to right at random (paper: C10+)."""
    cutout: int = 0
    """Afterwards hide a square of so many pixels' side, at random, of each image (DeVries & Taylor 2017: 16 for
    CIFAR-10, 8 for CIFAR-100); 0 for none (paper)."""
    label_smoothing: float = 0.0
    """Share of each label that is spread evenly over all classes (Szegedy et al. 2016: 0.1); 0 for none (paper)."""
    dropout: float = 0.0
    """Share of the values behind each convolution but the first that is set to zero in training (paper: 0.2 for SVHN,
    and for DenseNets without augmentation); 0 for none."""
    metric: Metric = "accuracy"
    """What the network is to be good at, and what ends its training early if that is looked at. For balanced_accuracy
    the loss of each image is weighed by n / (classes * n_c), of n training images with n_c in its class c, so that all
    classes count alike (King & Zeng 2001; scikit-learn's class_weight="balanced")."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.epochs < 1 or self.batch < 1:
            raise InvalidConfiguration(
                f"`epochs` and `batch` must be at least 1. Received: {self.epochs} and {self.batch}"
            )
        if not (0 < self.learning_rate < inf and 0 <= self.momentum < 1 and 0 <= self.weight_decay < inf):
            raise InvalidConfiguration(
                "The learning rate must be positive, the momentum from 0 to below 1, the weight decay not negative. "
                f"Received: {self.learning_rate}, {self.momentum}, {self.weight_decay}"
            )
        if self.seconds is not None and not 0 < self.seconds < inf:
            raise InvalidConfiguration(f"The seconds of a training must be positive. Received: {self.seconds}")
        check_dropout(self.dropout)
        if self.cutout < 0 or not 0 <= self.label_smoothing < 1:
            raise InvalidConfiguration(
                "`cutout` is a number of pixels, `label_smoothing` a share from 0 to below 1. "
                f"Received: {self.cutout} and {self.label_smoothing}"
            )

    def as_json(self) -> dict[str, Any]:
        """The recipe as JSON types: without what is as it was before there was a choice, the metric and the seconds."""
        values = asdict(self)
        if self.metric == "accuracy":
            del values["metric"]
        if self.seconds is None:
            del values["seconds"]
        return values


def check_dropout(share: float) -> None:
    """Refuse what is no share, or leaves too little to learn from.

    Raises:
        InvalidConfiguration: Naming the limits.
    """
    if not 0 <= share <= MAX_DROPOUT:
        raise InvalidConfiguration(f"`dropout` is a share from 0 to {MAX_DROPOUT}. Received: {share}")
