"""An accuracy in closed form, for work on agents: deterministic, in microseconds, with a known best network."""

from collections.abc import Iterator, Sequence
from math import exp

from eas_tf.architecture import Conv, Dense, Layer, PlainCNN, Pool, SearchSpace, Softmax
from eas_tf.evaluation.protocol import Request, Result

#: What a network at the optimum reaches, and one that is infinitely far from it.
BEST, WORST = 0.95, 0.10

#: The optimum's number of convolutions in each block, in turn.
DEPTHS = (2, 3)


class SurrogateEvaluator:
    """Scores a network by its distance from an ideal one.

    In the ideal network block number b has `DEPTHS[b % 2]` convolutions, with kernel number b (counted modulo the
    number of kernels, from the second on), and widths that climb from half of the rungs in the first block to the
    last rung in the last; one fully connected layer on the last rung closes it. The accuracy is

        WORST + (BEST - WORST) * exp(-(depth / 6 + 3 * width + kernel))

    where `depth` is the sum over blocks of the squared difference in layers, `width` the mean over layers of the
    squared difference in rungs, as a fraction of all rungs, and `kernel` the fraction of convolutions with another
    kernel. One episode from Table 1's network comes nearer to it but does not reach it.
    """

    parent = ""
    validation_images = 5_000

    def __init__(self, space: SearchSpace) -> None:
        self._space = space

    def evaluate(self, requests: Sequence[Request]) -> Iterator[Result]:
        """The results, in the order asked."""
        for request in requests:
            yield Result(accuracy=self.accuracy(request.architecture), loss=None, seconds=0.0)

    def close(self) -> None:
        """Nothing was started."""

    def accuracy(self, architecture: PlainCNN) -> float:
        """The accuracy of a network, from `WORST` to `BEST`."""
        *convolutional, dense = architecture.blocks
        depth = (len(dense) - 1) ** 2
        widths, other_kernels = [], []
        for number, block in enumerate(convolutional):
            ideal = self._convolution(number, len(convolutional))
            depth += (len(block) - DEPTHS[number % len(DEPTHS)]) ** 2
            for layer in architecture.layers[block.start : block.stop]:
                widths.append(self._rungs_apart(layer, ideal))
                other_kernels.append(isinstance(layer, Conv) and layer.kernel != ideal.kernel)
        widths += [self._rungs_apart(architecture.layers[index], Dense(self._space.units[-1])) for index in dense]
        width, kernel = sum(widths) / len(widths), sum(other_kernels) / max(1, len(other_kernels))
        return WORST + (BEST - WORST) * exp(-(depth / 6 + 3 * width + kernel))

    def optimum(self, architecture: PlainCNN) -> PlainCNN:
        """The ideal network with the same pools and classifier, whose accuracy is `BEST`."""
        pools = [layer for layer in architecture.layers if isinstance(layer, Pool)]
        blocks = len(architecture.blocks) - 1
        layers: list[Layer] = []
        for number in range(blocks):
            layers += [self._convolution(number, blocks)] * DEPTHS[number % len(DEPTHS)]
            layers += pools[number : number + 1]
        classifier = architecture.layers[-1]
        closing = (Dense(self._space.units[-1]), classifier if isinstance(classifier, Softmax) else Softmax(10))
        return PlainCNN((*layers, *closing), architecture.input_shape)

    def _convolution(self, number: int, blocks: int) -> Conv:
        """The ideal convolution of block `number` of `blocks`."""
        filters, kernels = self._space.filters, self._space.kernels
        rung = (len(filters) - 1) * (blocks + number) // max(1, 2 * blocks - 1)
        return Conv(filters[rung], kernels[(number + 1) % len(kernels)])

    def _rungs_apart(self, layer: Layer, ideal: Layer) -> float:
        rungs = len(self._space.units if isinstance(layer, Dense) else self._space.filters)
        return ((self._space.rung(layer) - self._space.rung(ideal)) / rungs) ** 2
