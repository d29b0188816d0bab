"""Random networks, spaces and transformations: hypothesis strategies, and their twins for seeded NumPy loops."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce
from itertools import pairwise

import numpy as np
from hypothesis import strategies as st

from eas_tf.architecture import (
    SPACES,
    Conv,
    Dense,
    DenseLayer,
    DenseNet,
    DenseNetSpace,
    Move,
    Net2Deeper,
    Net2Wider,
    PlainCNN,
    PlainSpace,
    Pool,
    Shape,
    Softmax,
    State,
    Transition,
)
from eas_tf.architecture.densenet.network import KINDS, DenseNetLayer
from eas_tf.architecture.work import work

#: Small enough that random networks often stand at one of its limits. Its last rung of units holds a flattened 3x3 map.
TINY = PlainSpace(
    name="tiny",
    filters=(2, 3, 5, 8),
    units=(4, 6, 16, 72),
    kernels=(1, 3),
    start="C(2,3,1), P(2,2,MAX), C(3,3,1), P(4,4,AVG), FC(4), SM(10)",
    max_blocks=4,
    block_length=3,
    max_layers=12,
)

#: Image shapes, one of them not square.
INPUT_SHAPES: tuple[Shape, ...] = ((32, 32, 3), (8, 8, 1), (9, 13, 2))

#: The named spaces of plain networks, and of DenseNets.
PLAIN_SPACES = {name: space for name, space in SPACES.items() if isinstance(space, PlainSpace)}
DENSENET_SPACES = {name: space for name, space in SPACES.items() if isinstance(space, DenseNetSpace)}

search_spaces = st.sampled_from([*PLAIN_SPACES.values(), TINY])


@st.composite
def plain_networks(draw: st.DrawFn, space: PlainSpace = SPACES["paper"], input_shape: Shape = (32, 32, 3)) -> PlainCNN:
    """Networks of a space without a parameter limit: any number of blocks, with and without a pool at the end.

    Widths are on and between rungs, flattened maps of all sizes occur, and so do networks without an FC layer.
    """
    blocks = draw(st.integers(1, max(1, space.max_blocks - 1)))
    # Room for one pool a block and the classifier is set aside first; at least one convolution a block.
    room = space.max_layers - blocks - 1
    layers, shape = [], input_shape
    for block in range(blocks):
        most = min(space.block_length, room - (blocks - 1 - block), 4)
        length = draw(st.integers(1, most))
        room -= length
        for _ in range(length):
            layers.append(Conv(draw(_widths(space.filters)), draw(st.sampled_from(space.kernels))))
        shape = (*shape[:2], layers[-1].filters)
        if block < blocks - 1 or draw(st.booleans()):
            pool = draw(_pools(min(shape[:2])))
            layers.append(pool)
            shape = pool.output_shape(shape)
    for _ in range(draw(st.integers(0, min(space.block_length, room, 3)))):
        layers.append(Dense(draw(_widths(space.units))))
    return PlainCNN((*layers, Softmax(draw(st.integers(1, 20)))), input_shape)


@st.composite
def densenets(
    draw: st.DrawFn, growth_rates: Sequence[int], input_shape: Shape = (32, 32, 3), *, blocks: int = 3, length: int = 4
) -> DenseNet:
    """DenseNets of every kind: any number of blocks up to `blocks`, with up to `length` layers each."""
    layers: list[DenseNetLayer] = [Conv(draw(st.integers(1, 40)), 3)]
    for block in range(draw(st.integers(1, blocks))):
        if block:
            layers.append(Transition(draw(st.integers(1, 60))))
        rates = st.sampled_from(growth_rates)
        layers += [DenseLayer(growth) for growth in draw(st.lists(rates, min_size=1, max_size=length))]
    return DenseNet(draw(st.sampled_from(KINDS)), (*layers, Softmax(draw(st.integers(1, 20)))), input_shape)


def unlimited(space: PlainSpace | DenseNetSpace) -> PlainSpace | DenseNetSpace:
    """The space without limits that networks grow into."""
    return replace(space, max_parameters=None, max_work=None)


@st.composite
def densenets_in_spaces(draw: st.DrawFn) -> tuple[DenseNet, DenseNetSpace]:
    """A DenseNet, and a space with random limits around it, which it often keeps exactly."""
    space = draw(st.sampled_from([*DENSENET_SPACES.values()]))
    shape = draw(st.sampled_from(INPUT_SHAPES))
    architecture = draw(densenets(space.growth_rates, shape, blocks=space.max_blocks))
    parameters, size = architecture.parameter_count, work(architecture)
    space = replace(
        space,
        max_blocks=len(architecture.blocks) + draw(st.integers(0, 1)),
        block_length=max(map(len, architecture.blocks)) + draw(st.integers(0, 3)),
        max_layers=len(architecture.layers) + draw(st.integers(0, 6)),
        max_parameters=draw(st.one_of(st.none(), st.integers(parameters, 2 * parameters))),
        max_work=draw(st.one_of(st.none(), st.integers(size, 2 * size))),
        rederive=draw(st.booleans()),
    )
    return architecture, space


@st.composite
def limited_spaces(draw: st.DrawFn, space: PlainSpace, architecture: PlainCNN) -> PlainSpace:
    """The space with random limits that `architecture` keeps, often exactly."""
    widest = descendant(architecture, legal_widenings(architecture, unlimited(space)))

    def limit(least: int, most: int) -> st.SearchStrategy[int | None]:
        return st.one_of(st.none(), st.integers(least, most), st.integers(most, 20 * most))

    return replace(
        space,
        max_blocks=len(architecture.blocks) + draw(st.integers(0, 1)),
        block_length=max(map(len, architecture.blocks)) + draw(st.integers(0, 3)),
        max_layers=len(architecture.layers) + draw(st.integers(0, 6)),
        max_parameters=draw(limit(architecture.parameter_count, widest.parameter_count)),
        max_work=draw(limit(work(architecture), work(widest))),
    )


@st.composite
def networks_in_spaces(draw: st.DrawFn, space: PlainSpace | None = None) -> tuple[PlainCNN, PlainSpace]:
    """A network, and a space with random limits around it."""
    space = space or draw(search_spaces)
    architecture = draw(plain_networks(space, draw(st.sampled_from(INPUT_SHAPES))))
    return architecture, draw(limited_spaces(space, architecture))


@st.composite
def transformation_chains(draw: st.DrawFn, architecture: PlainCNN, space: PlainSpace, length: int) -> list[Move]:
    """The transformations of `length` steps drawn from the masks.

    A step widens at least one layer (one transformation each) or inserts one; the chain ends early where neither is
    legal.
    """
    chain: list[Move] = []
    for _ in range(length):
        widenings, deepenings = legal_widenings(architecture, space), legal_deepenings(architecture, space)
        if not widenings and not deepenings:
            break
        if widenings and (not deepenings or draw(st.booleans())):
            step = draw(st.lists(st.sampled_from(widenings), min_size=1, unique=True))
        else:
            step = [draw(st.sampled_from(deepenings))]
        architecture = descendant(architecture, step)
        chain += step
    return chain


def random_chain(architecture: PlainCNN, space: PlainSpace, rng: np.random.Generator, length: int) -> list[Move]:
    """The transformations of `length` steps drawn from the masks; as `transformation_chains`, for a seeded loop.

    Each step tosses a coin between the kinds that are legal, then draws uniformly: one of the non-empty sets of
    layers to widen, or one insertion.
    """
    chain: list[Move] = []
    for _ in range(length):
        widenings, deepenings = legal_widenings(architecture, space), legal_deepenings(architecture, space)
        if not widenings and not deepenings:
            break
        step: list[Move] = []
        if widenings and (not deepenings or rng.random() < 0.5):
            while not step:
                step = [widening for widening in widenings if rng.random() < 0.5]
        else:
            step = [deepenings[rng.integers(len(deepenings))]]
        architecture = descendant(architecture, step)
        chain += step
    return chain


def descendant(architecture: PlainCNN, chain: Iterable[Move]) -> PlainCNN:
    """The network at the end of a chain of transformations."""
    return reduce(lambda parent, transformation: transformation.apply(parent), chain, architecture)


def widen_together(space: PlainSpace, architecture: PlainCNN, layers: Iterable[int]) -> tuple[Net2Wider, ...]:
    """What a space makes of coins that say yes for these layers."""
    return replace(space, schedule=("widen",)).act(State(architecture), tuple(layers)).moves


def deepen_mask(space: PlainSpace, architecture: PlainCNN) -> np.ndarray:
    """Where a layer may be inserted: bool `[blocks, positions, kernels]`."""
    mask = np.frombuffer(space.deepen_mask(architecture), bool)
    return mask.reshape(space.max_blocks, space.block_length, len(space.kernels))


def legal_widenings(architecture: PlainCNN, space: PlainSpace) -> tuple[Net2Wider, ...]:
    """Every widening that the mask allows; any set of them is legal together."""
    return widen_together(space, architecture, [i for i, legal in enumerate(space.widen_mask(architecture)) if legal])


def legal_deepenings(architecture: PlainCNN, space: PlainSpace) -> list[Net2Deeper]:
    """Every insertion that the mask allows."""
    return [
        space.insertion(architecture, block, position, kernel)
        for block, positions in enumerate(deepen_mask(space, architecture))
        for position, kernels in enumerate(positions)
        for kernel, legal in enumerate(kernels)
        if legal
    ]


def _widths(rungs: tuple[int, ...]) -> st.SearchStrategy[int]:
    between = [st.integers(low, high) for low, high in pairwise((1, *rungs))]
    return st.one_of(st.sampled_from(rungs), *between)


@st.composite
def _pools(draw: st.DrawFn, side: int) -> Pool:
    size = draw(st.integers(1, min(side, 4)))
    return Pool(size, draw(st.integers(1, 3)), draw(st.sampled_from(["MAX", "AVG"])))
