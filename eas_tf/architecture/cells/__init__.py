"""Cells of NAS-Bench-201 (Dong & Yang, ICLR 2020), whose accuracies are in a table."""

from eas_tf.architecture.cells.cell import HEADER, Cell
from eas_tf.architecture.cells.space import CellSpace
from eas_tf.architecture.space import NetworkKind

KIND = NetworkKind(parse=Cell.parse, headers=(HEADER,), spaces=(CellSpace(),))
