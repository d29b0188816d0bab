"""Plain convolutional networks: the EAS paper's first search space."""

from eas_tf.architecture.plain.network import PlainCNN
from eas_tf.architecture.plain.space import PlainSpace
from eas_tf.architecture.space import NetworkKind

_PAPER_FILTERS = (16, 32, 64, 96, 128, 192, 256, 320, 384, 448, 512)
_PAPER_UNITS = (64, 128, 256, 384, 512, 640, 768, 896, 1024)
_TABLE_1 = (
    "C(16,3,1), P(2,2,MAX), C(32,3,1), P(2,2,MAX), C(64,3,1), P(2,2,MAX), C(128,3,1), P(4,4,AVG), FC(256), SM(10)"
)

#: The paper's two spaces, its code's example, and one for 8x8 digits.
KIND = NetworkKind(
    parse=PlainCNN.parse,
    spaces=(
        PlainSpace(name="paper", filters=_PAPER_FILTERS, units=_PAPER_UNITS, start=_TABLE_1),
        PlainSpace(
            name="large",
            filters=(*_PAPER_FILTERS, 576, 640),
            units=(*_PAPER_UNITS, 1152, 1280),
            start=_TABLE_1,
        ),
        PlainSpace(
            name="toy",
            filters=tuple(range(4, 41, 4)),
            units=tuple(range(8, 81, 8)),
            start="C(4,3,1), P(2,2,MAX), C(4,3,1), P(2,2,MAX), C(4,3,1), P(2,2,MAX), C(4,3,1), P(4,4,AVG), FC(8), "
            "SM(10)",
        ),
        PlainSpace(
            name="digits",
            filters=(4, 8, 12, 16, 24, 32, 48, 64),
            units=(8, 16, 24, 32, 48, 64, 96, 128),
            start="C(4,3,1), P(2,2,MAX), C(8,3,1), P(4,4,AVG), FC(16), SM(10)",
            max_blocks=3,
            block_length=6,
            max_layers=20,
        ),
    ),
)
