"""Spaces, observations and masks for agents, made by hand: these tests need no environment."""

from types import SimpleNamespace

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete


def spaces(high=(2, 3), max_layers=6, choices=(3, 4, 2), steps=9):
    """Observation and action space of one environment, small by default."""
    tops = np.tile(np.array(high, np.int32), (max_layers, 1))
    layers = Box(0, tops, dtype=np.int32)
    observation = Dict(layers=layers, kind=Discrete(3), steps_left=Discrete(steps + 1))
    return observation, Dict(deepen=MultiDiscrete(choices), widen=MultiBinary(max_layers))


def layers(rng, lengths, high=(2, 3), max_layers=6):
    """Random layer rows `[n, max_layers, fields]`: the first field is never 0 before the padding."""
    rows = rng.integers(0, np.array(high) + 1, (len(lengths), max_layers, len(high)), dtype=np.int32)
    rows[..., 0] = np.maximum(rows[..., 0], 1)
    rows[np.arange(max_layers) >= np.array(lengths)[:, None]] = 0
    return rows


def observation(rows, kind, steps_left):
    """A batch at one step of the schedule."""
    return {"layers": rows, "kind": np.full(len(rows), kind), "steps_left": np.full(len(rows), steps_left)}


def mask(n, deepen=None, widen=None, max_layers=6, choices=(3, 4, 2)):
    """Both masks, zero where not given; a mask without the batch axis is for all networks."""
    part = {"deepen": (deepen, choices), "widen": (widen, (max_layers,))}
    return {
        key: np.broadcast_to(np.zeros(shape) if given is None else given, (n, *shape)).astype(np.int8)
        for key, (given, shape) in part.items()
    }


def some_legal(rng, n, choices=(3, 4, 2), chance=0.3):
    """Random deepening masks with at least one legal place each, often only that one."""
    legal = rng.random((n, *choices)) < chance * rng.integers(0, 2, (n, 1, 1, 1))
    legal[np.arange(n), *(rng.integers(0, size, n) for size in choices)] = True
    return legal


@pytest.fixture(scope="session")
def case():
    """The functions above."""
    return SimpleNamespace(spaces=spaces, layers=layers, observation=observation, mask=mask, some_legal=some_legal)
