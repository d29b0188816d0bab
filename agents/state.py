"""What an agent knows, as arrays by name, so that it can be kept without pickle and go on in another process."""

import json

import numpy as np

from eas_tf.agents.base import Batch
from eas_tf.errors import RunDamaged


def generator_state(rng: np.random.Generator) -> np.ndarray:
    """Where a generator is: a text, because its numbers have 128 bits."""
    return np.array(json.dumps(rng.bit_generator.state, default=np.ndarray.tolist))


def restore_generator(rng: np.random.Generator, state: np.ndarray) -> None:
    """Put a generator where another one was.

    Raises:
        RunDamaged: If it is the state of another kind of generator.
    """
    try:
        rng.bit_generator.state = json.loads(str(state))
    except (ValueError, TypeError, KeyError) as error:
        raise RunDamaged(f"This is not the state of a {type(rng.bit_generator).__name__}: {error}") from error


def check_state(state: Batch, expected: Batch) -> None:
    """Refuse the state of an agent of another kind or size.

    Raises:
        RunDamaged: Naming what differs.
    """
    if set(state) != set(expected):
        raise RunDamaged(f"This is the state of another agent: it has {sorted(state)[:5]}, not {sorted(expected)[:5]}.")
    for name, array in expected.items():
        if array.dtype.kind != state[name].dtype.kind or (array.dtype.kind != "U" and array.shape != state[name].shape):
            raise RunDamaged(
                f"This is the state of another agent: {name} has shape {state[name].shape}, not {array.shape}."
            )
