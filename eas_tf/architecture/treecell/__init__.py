"""Tree cells (Cai et al., ICML 2018, "Path-Level Network Transformation for Efficient Architecture Search")."""

from eas_tf.architecture.treecell.network import TreeNetwork

__all__ = ["TreeNetwork"]
