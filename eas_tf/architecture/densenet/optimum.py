"""A closed form for DenseNets: how far one is from an ideal one. For work on agents without training."""

from dataclasses import dataclass, replace

from eas_tf.architecture.densenet.layers import DenseLayer
from eas_tf.architecture.densenet.network import DenseNet, DenseNetLayer


@dataclass(frozen=True, kw_only=True)
class DenseNetOptimum:
    """The ideal network of a space with these rungs.

    In block number b of n in it, (n + b) / 2n of `block_length` layers, rounded up, have the growth rate on rung
    (n + b) / (2n - 1) of the last, rounded down: from about half in the first block to nearly all in the last.
    """

    growth_rates: tuple[int, ...]
    """The rungs."""
    block_length: int
    """Layers that every block has room for."""

    def distance(self, architecture: DenseNet) -> float:
        """The sum 2 * depth + 3 * width.

        Here `depth` is the sum over blocks of the squared difference in layers, as a fraction of the ideal number, and
        `width` the mean over dense layers of the squared difference in rungs, as a fraction of all rungs.
        """
        blocks, depth, widths = architecture.blocks, 0.0, []
        for number, block in enumerate(blocks):
            length, rung = self._block(number, len(blocks))
            depth += ((len(block) - length) / length) ** 2
            for index in block:
                reached = self.growth_rates.index(architecture.layers[index].width or 0)
                widths.append(((reached - rung) / len(self.growth_rates)) ** 2)
        return 2 * depth + 3 * sum(widths) / len(widths)

    def network(self, architecture: DenseNet) -> DenseNet:
        """The ideal network of the same kind with the same stem, transitions and classifier."""
        blocks = len(architecture.blocks)
        layers: list[DenseNetLayer] = [architecture.layers[0]]
        for number, block in enumerate(architecture.blocks):
            length, rung = self._block(number, blocks)
            layers += [DenseLayer(self.growth_rates[rung])] * length
            layers.append(architecture.layers[block.stop])
        return replace(architecture, layers=tuple(layers))

    def _block(self, number: int, blocks: int) -> tuple[int, int]:
        """The ideal number of layers in a block, and the number of their rung."""
        length = -(-self.block_length * (blocks + number) // (2 * blocks))
        return length, (len(self.growth_rates) - 1) * (blocks + number) // max(1, 2 * blocks - 1)
