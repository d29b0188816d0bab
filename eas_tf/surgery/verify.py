"""How far two networks' outputs are apart."""

from typing import Any

import keras
import numpy as np

from eas_tf.errors import InvalidConfiguration


def output_difference(model_a: keras.Model, model_b: keras.Model, inputs: Any, *, training: bool = False) -> float:
    """The largest difference between two models' outputs, relative to the largest absolute value of the first's.

    With several outputs it is the largest of theirs. Values that are not finite in one model only differ by infinity.

    Args:
        model_a: The reference, for example the parent.
        model_b: A model with the same inputs and outputs.
        inputs: A batch of inputs, in the structure that the models take.
        training: Whether to call both in training mode, which moves the moving statistics of their batch norms.

    Raises:
        InvalidConfiguration: If the outputs have other shapes.
    """
    first, second = (
        [keras.ops.convert_to_numpy(output).astype(np.float64) for output in keras.tree.flatten(outputs)]
        for outputs in (model(inputs, training=training) for model in (model_a, model_b))
    )
    if [a.shape for a in first] != [b.shape for b in second]:
        raise InvalidConfiguration(
            f"The models' outputs differ in shape: {[a.shape for a in first]} and {[b.shape for b in second]}."
        )
    return max(_relative(a, b) for a, b in zip(first, second, strict=True))


def _relative(a: np.ndarray, b: np.ndarray) -> float:
    if not np.isfinite(b[np.isfinite(a)]).all():
        return float("inf")
    distance, scale = np.nan_to_num(np.abs(a - b)).max(initial=0), np.nan_to_num(np.abs(a)).max(initial=0)
    return float(distance / scale) if scale else float(distance)
