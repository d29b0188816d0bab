"""Tree cells (Cai et al., ICML 2018, "Path-Level Network Transformation for Efficient Architecture Search")."""

from eas_tf.architecture.space import NetworkKind
from eas_tf.architecture.treecell.bases import BASES
from eas_tf.architecture.treecell.network import TreeNetwork
from eas_tf.architecture.treecell.space import TreeCellSpace

_SMALL_CELL = "add(conv3+>split(avg3,sep5),conv3+>add(sep3,conv1))"
_SMALL_OPERATIONS = ("sep3", "sep5", "conv1", "id", "max3", "avg3")

#: The paper's space, whose optimum is its TreeCell-A; one for two cores; and one for 8x8 digits.
KIND = NetworkKind(
    headers=tuple(BASES),
    parse=TreeNetwork.parse,
    spaces=(
        TreeCellSpace(
            name="treecell",
            start="DenseNet-tree: C(96,3,1), D(48), T(72), D(48), T(60), D(48), SM(10); conv3g2",
            ideal="add(conv3g2+>add(conv1+>split(avg3,sep7),max3+>add(sep3,sep5)),"
            "conv3g2+>add(sep5+>add(sep5,avg3,avg3),sep3+>add(avg3,sep3)))",
        ),
        TreeCellSpace(
            name="treecell-small",
            start="DenseNet-tree: C(32,3,1), D(16), T(24), D(16), T(20), D(16), SM(10); conv3",
            ideal=_SMALL_CELL,
            operations=_SMALL_OPERATIONS,
            branches=(3, 2),
            max_layers=24,
        ),
        TreeCellSpace(
            name="treecell-digits",
            start="DenseNet-tree: C(16,3,1), D(8), T(12), D(8), SM(10); conv3",
            ideal=_SMALL_CELL,
            operations=_SMALL_OPERATIONS,
            branches=(3, 2),
            max_layers=20,
        ),
    ),
)
