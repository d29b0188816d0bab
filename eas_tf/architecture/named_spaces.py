"""The search spaces that have a name."""

from dataclasses import replace
from typing import Any

from eas_tf.architecture.densenet_space import DenseNetSpace
from eas_tf.architecture.plain_space import SearchSpace
from eas_tf.architecture.space import AnySpace
from eas_tf.errors import InvalidConfiguration

_PAPER_FILTERS = (16, 32, 64, 96, 128, 192, 256, 320, 384, 448, 512)
_PAPER_UNITS = (64, 128, 256, 384, 512, 640, 768, 896, 1024)
_TABLE_1 = (
    "C(16,3,1), P(2,2,MAX), C(32,3,1), P(2,2,MAX), C(64,3,1), P(2,2,MAX), C(128,3,1), P(4,4,AVG), FC(256), SM(10)"
)

_DENSENET = DenseNetSpace(
    name="densenet",
    growth_rates=(40, 44, 48, 52, 56, 60, 64),
    start="DenseNet-BC: C(80,3,1), 6xD(40), T(160), 6xD(40), T(200), 6xD(40), SM(10)",
)

#: The named spaces. Of plain networks: the paper's two, its code's example, and one for 8x8 digits. Of DenseNets: the
#: paper's, the same with what its code re-derives, one for two cores (from L = 16 and k = 12), and one for 8x8 digits.
SPACES: dict[str, AnySpace] = {
    space.name: space
    for space in (
        SearchSpace(name="paper", filters=_PAPER_FILTERS, units=_PAPER_UNITS, start=_TABLE_1),
        SearchSpace(
            name="large",
            filters=(*_PAPER_FILTERS, 576, 640),
            units=(*_PAPER_UNITS, 1152, 1280),
            start=_TABLE_1,
        ),
        SearchSpace(
            name="toy",
            filters=tuple(range(4, 41, 4)),
            units=tuple(range(8, 81, 8)),
            start="C(4,3,1), P(2,2,MAX), C(4,3,1), P(2,2,MAX), C(4,3,1), P(2,2,MAX), C(4,3,1), P(4,4,AVG), FC(8), "
            "SM(10)",
        ),
        SearchSpace(
            name="digits",
            filters=(4, 8, 12, 16, 24, 32, 48, 64),
            units=(8, 16, 24, 32, 48, 64, 96, 128),
            start="C(4,3,1), P(2,2,MAX), C(8,3,1), P(4,4,AVG), FC(16), SM(10)",
            max_blocks=3,
            block_length=6,
            max_layers=20,
        ),
        _DENSENET,
        replace(_DENSENET, name="densenet-rederive", rederive=True),
        DenseNetSpace(
            name="densenet-small",
            growth_rates=(12, 14, 16, 20, 24, 28, 32),
            start="DenseNet-BC: C(24,3,1), 2xD(12), T(24), 2xD(12), T(24), 2xD(12), SM(10)",
            block_length=6,
            max_layers=21,
        ),
        DenseNetSpace(
            name="densenet-digits",
            growth_rates=(4, 6, 8, 10, 12, 16),
            start="DenseNet-BC: C(8,3,1), 2xD(4), T(8), 2xD(4), SM(10)",
            max_blocks=2,
            block_length=6,
            max_layers=15,
        ),
    )
}


def space_named(name: str, max_parameters: int | None = None) -> AnySpace:
    """One of the named spaces, with a limit on parameters if one is given.

    Raises:
        InvalidConfiguration: If there is none of that name, or the limit is not positive.
    """
    if name not in SPACES:
        raise InvalidConfiguration(f"The spaces are {', '.join(SPACES)}. Received: {name!r}")
    space: Any = SPACES[name]
    limited: AnySpace = replace(space, max_parameters=max_parameters)
    return limited
