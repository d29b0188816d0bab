"""DenseNets (Huang et al. 2017): the EAS paper's second search space."""

from dataclasses import replace

from eas_tf.architecture.densenet.network import KINDS, DenseNet
from eas_tf.architecture.densenet.space import DenseNetSpace
from eas_tf.architecture.space import NetworkKind

_PAPER = DenseNetSpace(
    name="densenet",
    growth_rates=(40, 44, 48, 52, 56, 60, 64),
    start="DenseNet-BC: C(80,3,1), 6xD(40), T(160), 6xD(40), T(200), 6xD(40), SM(10)",
)

#: The paper's space, the same with what its code re-derives, one for two cores (from L = 16 and k = 12), and one for
#: 8x8 digits.
KIND = NetworkKind(
    headers=KINDS,
    parse=DenseNet.parse,
    spaces=(
        _PAPER,
        replace(_PAPER, name="densenet-rederive", rederive=True),
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
    ),
)
