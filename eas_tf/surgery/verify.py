"""How far two networks' outputs are apart."""

from typing import Any

import keras
import numpy as np

from eas_tf.errors import InvalidConfiguration, InvalidData
from eas_tf.surgery.messages import first_line, shown


def output_difference(model_a: keras.Model, model_b: keras.Model, inputs: Any, *, training: bool = False) -> float:
    """The largest difference between two models' outputs, relative to the largest absolute value of the first's.

    With several outputs it is the largest of theirs. Values that are not finite differ by infinity from all others.

    Args:
        model_a: The reference, for example the parent.
        model_b: A model with the same inputs and outputs.
        inputs: A batch of inputs, in the structure that the models take.
        training: Whether to call both in training mode, which moves the moving statistics of their batch norms.

    Raises:
        InvalidConfiguration: If one is no model, or the outputs have other shapes, or no finite value to compare.
        InvalidData: If a model does not take the inputs.
    """
    first, second = (_outputs(model, inputs, training) for model in (model_a, model_b))
    if [a.shape for a in first] != [b.shape for b in second]:
        raise InvalidConfiguration(
            f"The models' outputs differ in shape: {[a.shape for a in first]} and {[b.shape for b in second]}."
        )
    if not any(np.isfinite(outputs).any() for outputs in [*first, *second]):
        raise InvalidConfiguration("There is nothing to compare: the models' outputs have no finite value.")
    return max(_relative(a, b) for a, b in zip(first, second, strict=True))


def _outputs(model: keras.Model, inputs: Any, training: bool) -> list[np.ndarray]:
    if not isinstance(model, keras.Model):
        raise InvalidConfiguration(f"output_difference compares two Keras models. Received: {shown(model)}")
    # Keras takes no tensors and arrays side by side.
    inputs = keras.tree.map_structure(lambda x: keras.ops.convert_to_numpy(x) if keras.ops.is_tensor(x) else x, inputs)
    try:
        outputs = model(inputs, training=training)
    except Exception as error:  # Backends raise classes of their own.
        raise InvalidData(f"The inputs must be a batch as {model.name!r} takes it. {first_line(error)}") from error
    return [keras.ops.convert_to_numpy(output).astype(np.float64) for output in keras.tree.flatten(outputs)]


def _relative(a: np.ndarray, b: np.ndarray) -> float:
    finite = np.isfinite(a)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True) or not np.isfinite(b[finite]).all():
        return float("inf")
    distance, scale = np.abs(a - b)[finite].max(initial=0), np.abs(a)[finite].max(initial=0)
    return float(distance / scale) if scale else float(distance)
