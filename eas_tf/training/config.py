"""Options that whatever trains networks shares: one text and one check of each. Imports no TensorFlow."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from eas_tf.data import CropAndFlip
from eas_tf.errors import InvalidConfiguration
from eas_tf.fields import check_fields
from eas_tf.training.recipe import check_dropout

#: "auto": "mirrored" where there are several GPUs, else "single".
StrategyName: TypeAlias = Literal["auto", "single", "mirrored"]


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """On which images networks are trained, and on which devices. Classes below decide what None stands for."""

    dataset: str | None = None
    """digits, synthetic, cifar10, cifar100, svhn_cropped, fashion_mnist, mnist, or a path to your own .npz file (keys
    x_train, y_train, and optionally x_val, y_val, x_test, y_test, groups_train)."""
    data_dir: str | None = None
    """Where tensorflow-datasets keeps its data."""
    crop_and_flip: CropAndFlip | None = None
    """Pad training images by 4 pixels, crop and flip them at random: auto for CIFAR-10 and CIFAR-100 only (paper: on is
    C10+, off is C10)."""
    dropout: float | None = None
    """Share of the values behind each convolution but the first that is set to zero in training (paper: 0.2 for SVHN,
    and for DenseNets without augmentation); 0 for none."""
    strategy: StrategyName = "auto"
    """Train each network on one device, or mirrored on all; auto: on all GPUs."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.dropout is not None:
            check_dropout(self.dropout)


def check_strategy(name: object) -> None:
    """Refuse what is no `StrategyName`.

    Raises:
        InvalidConfiguration: Naming those that there are.
    """
    if name not in get_args(StrategyName):
        raise InvalidConfiguration(f"`strategy` is {', '.join(get_args(StrategyName))}. Received: {name!r}")


def check_least(config: object, least: int, *names: str) -> None:
    """Refuse numbers that are too small, among the named fields; None is none.

    Raises:
        InvalidConfiguration: Naming the first one.
    """
    for name in names:
        value = getattr(config, name)
        if value is not None and value < least:
            raise InvalidConfiguration(f"`{name}` must be at least {least}. Received: {value}")
