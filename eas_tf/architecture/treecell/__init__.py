"""Tree cells (Cai et al., ICML 2018, "Path-Level Network Transformation for Efficient Architecture Search")."""

from eas_tf.architecture.space import NetworkKind
from eas_tf.architecture.treecell import moves as moves
from eas_tf.architecture.treecell.bases import BASES
from eas_tf.architecture.treecell.network import TreeNetwork

KIND = NetworkKind(headers=tuple(BASES), parse=TreeNetwork.parse)
