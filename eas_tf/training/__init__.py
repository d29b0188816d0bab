"""How one network is trained: the recipe, the loop inside one graph, augmentation, strategies."""

from eas_tf.training.recipe import RATE_FROM_SCRATCH, Recipe
from eas_tf.training.strategy import StrategyName, make_strategy
from eas_tf.training.trainer import OnEpoch, Trained, Trainer

__all__ = ["RATE_FROM_SCRATCH", "OnEpoch", "Recipe", "StrategyName", "Trained", "Trainer", "make_strategy"]
