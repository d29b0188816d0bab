"""What size costs: an accuracy is worth less, the larger the network that reaches it."""

from dataclasses import dataclass, fields
from math import exp, log
from sys import float_info

from eas_tf.architecture import Architecture
from eas_tf.errors import InvalidConfiguration

#: Beyond this the exponential overflows; the score is 1 long before.
_LARGEST_EXPONENT = 700.0


@dataclass(frozen=True, kw_only=True)
class Price:
    """The exponents of a child's size in its score: 0 for what costs nothing, about 0.07 for a soft limit (MnasNet)."""

    parameters: float = 0.0
    """Of the number of trainable weights: twice as many take away 5 % of the accuracy at 0.07."""
    multiply_adds: float = 0.0
    """Of the multiplications with a weight for one image (`Architecture.multiply_adds`)."""

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self)):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value <= float_info.max:
                raise InvalidConfiguration(f"`price_{name}` must be a finite number, 0 or more. Received: {value!r}")

    def score(self, accuracy: float, architecture: Architecture, start: Architecture) -> float:
        """The accuracy times (size / size of the start network)^-price for each price, clipped to [0, 1].

        Without prices it is the accuracy itself. This is Equation 2 of MnasNet (Tan et al., CVPR 2019), with w = -price
        and for T the start network's size. A network smaller than the start network scores more than its accuracy.

        Args:
            accuracy: Of the network, from 0 to 1.
            architecture: The network's.
            start: The network that costs nothing.
        """
        cost = 0.0
        if self.parameters:
            cost += self.parameters * log(architecture.parameter_count / start.parameter_count)
        if self.multiply_adds:
            cost += self.multiply_adds * log(architecture.multiply_adds / start.multiply_adds)
        return min(1.0, max(0.0, accuracy * exp(min(_LARGEST_EXPONENT, -cost))))
