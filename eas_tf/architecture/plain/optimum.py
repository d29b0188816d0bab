"""A closed form for plain networks: how far one is from an ideal one. For work on agents without training."""

from bisect import bisect_right
from dataclasses import dataclass

from eas_tf.architecture.layers import Conv, Dense, Layer, Pool, Softmax, shared
from eas_tf.architecture.plain.network import PlainCNN

#: The optimum's number of convolutions in each block, in turn.
DEPTHS = (2, 3)


@dataclass(frozen=True, kw_only=True)
class PlainOptimum:
    """The ideal network of a space with these rungs and kernels.

    In it block number b has `DEPTHS[b % 2]` convolutions, with kernel number b (counted modulo the number of kernels,
    from the second on), and widths that climb from half of the rungs in the first block to the last rung in the last;
    one fully connected layer on the last rung closes it. One episode from Table 1's network comes nearer to it but
    does not reach it.
    """

    filters: tuple[int, ...]
    units: tuple[int, ...]
    kernels: tuple[int, ...]

    def distance(self, architecture: PlainCNN) -> float:
        """The sum depth / 6 + 3 * width + kernel.

        Here `depth` is the sum over blocks of the squared difference in layers, `width` the mean over layers of the
        squared difference in rungs, as a fraction of all rungs, and `kernel` the fraction of convolutions with another
        kernel.
        """
        *convolutional, dense = architecture.blocks
        depth = (len(dense) - 1) ** 2
        widths, other_kernels = [], []
        for number, block in enumerate(convolutional):
            ideal = self._convolution(number, len(convolutional))
            wanted = bisect_right(self.filters, ideal.filters)
            depth += (len(block) - DEPTHS[number % len(DEPTHS)]) ** 2
            layers = architecture.layers[block.start : block.stop]
            widths += [_rungs_apart(self.filters, layer, wanted) for layer in layers]
            other_kernels += [isinstance(layer, Conv) and layer.kernel != ideal.kernel for layer in layers]
        widths += [_rungs_apart(self.units, architecture.layers[index], len(self.units)) for index in dense]
        width, kernel = sum(widths) / len(widths), sum(other_kernels) / max(1, len(other_kernels))
        return depth / 6 + 3 * width + kernel

    def network(self, architecture: PlainCNN) -> PlainCNN:
        """The ideal network with the same pools and classifier."""
        pools = [layer for layer in architecture.layers if isinstance(layer, Pool)]
        blocks = len(architecture.blocks) - 1
        layers: list[Layer] = []
        for number in range(blocks):
            layers += [self._convolution(number, blocks)] * DEPTHS[number % len(DEPTHS)]
            layers += pools[number : number + 1]
        classifier = architecture.layers[-1]
        closing = (Dense(self.units[-1]), classifier if isinstance(classifier, Softmax) else Softmax(10))
        return PlainCNN((*layers, *closing), architecture.input_shape)

    def _convolution(self, number: int, blocks: int) -> Conv:
        """The ideal convolution of block `number` of `blocks`."""
        rung = (len(self.filters) - 1) * (blocks + number) // max(1, 2 * blocks - 1)
        return shared(Conv, self.filters[rung], self.kernels[(number + 1) % len(self.kernels)], 1)


def _rungs_apart(rungs: tuple[int, ...], layer: Layer, wanted: int) -> float:
    """The squared difference between the rungs that a layer has reached and those wanted, as fractions of all rungs."""
    return ((bisect_right(rungs, layer.width or 0) - wanted) / len(rungs)) ** 2
