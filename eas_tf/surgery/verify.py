"""How far two networks' outputs are apart."""

import keras
import numpy as np


def output_difference(
    model_a: keras.Model, model_b: keras.Model, inputs: np.ndarray, *, training: bool = False
) -> float:
    """The largest difference between two models' outputs, relative to the largest output of the first.

    Args:
        model_a: The reference, for example the parent.
        model_b: A model with the same inputs and outputs.
        inputs: A batch of inputs.
        training: Whether to call both in training mode, which moves the moving statistics of their batch norms.
    """
    outputs = [keras.ops.convert_to_numpy(model(inputs, training=training)) for model in (model_a, model_b)]
    return float(np.abs(outputs[0] - outputs[1]).max() / np.abs(outputs[0]).max())
