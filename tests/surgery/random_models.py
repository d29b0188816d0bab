"""Random functional models: branches, joins and outputs, made of every layer that surgery has a rule for."""

import keras
import numpy as np
from hypothesis import strategies as st
from trained_graphs import randomise

layers = keras.layers

#: Continuous, so that rounding cannot tip a value over an edge.
ACTIVATIONS = ["relu", "relu6", "tanh", "gelu", "silu", "elu", "softplus", "leaky_relu", "linear", None]
#: What has one rule with no choice in it, for maps of each number of spatial dimensions.
PLAIN = [
    lambda _: layers.ReLU(),
    lambda _: layers.LeakyReLU(0.2),
    lambda _: layers.ELU(),
    lambda draw: layers.Activation(draw(st.sampled_from(ACTIVATIONS[:-1]))),
    lambda draw: layers.BatchNormalization(center=draw(st.booleans()), scale=draw(st.booleans())),
    lambda _: layers.Dropout(0.2),
    lambda _: layers.GaussianNoise(0.1),
    lambda _: layers.GaussianDropout(0.1),
    lambda _: layers.AlphaDropout(0.1),
    lambda _: layers.Identity(),
    lambda _: layers.Rescaling(0.5, 0.1),
    lambda _: layers.GroupNormalization(-1, epsilon=0.1),
    lambda _: layers.ActivityRegularization(0.1),
]
#: What replicas cannot pass.
STOPS = [
    lambda: layers.LayerNormalization(epsilon=0.1),
    lambda: layers.UnitNormalization(),
    lambda: layers.Softmax(),
    lambda: layers.GroupNormalization(1, epsilon=0.1),
]
JOINS = [layers.Add, layers.Subtract, layers.Multiply, layers.Average, layers.Maximum, layers.Minimum]


def of_rank(name, rank):
    return getattr(layers, f"{name}{rank}D")


#: Each is kept by its weights from the beginning. Not all of them are by replicas.
CONSTRAINTS = [
    lambda: keras.constraints.NonNeg(),
    lambda: keras.constraints.MaxNorm(0.5),
    lambda: keras.constraints.UnitNorm(axis=0),
    lambda: keras.constraints.UnitNorm(axis=-1),
    lambda: keras.constraints.MinMaxNorm(0.4, 0.8),
]


class Keyed(layers.Layer):
    """Takes a second tensor by a keyword, in which all channels are mixed."""

    def call(self, x, gate=None):
        return x * keras.ops.mean(keras.ops.sigmoid(gate), axis=-1, keepdims=True)


def functional_model(draw, *, unusual: bool = False) -> tuple[keras.Model, list[np.ndarray]]:
    """A model with random weights, and a batch of its inputs, all drawn by a function of hypothesis.

    An unusual one may also have constants, masks, models within it, constraints, and layers that take several tensors.
    """
    rank = draw(st.integers(0, 3))
    shape = (*[draw(st.sampled_from([4, 5, 6])) for _ in range(rank)], draw(st.integers(1, 4)))
    inputs = [keras.Input(shape) for _ in range(draw(st.integers(1, 2)))]
    # Channels that meet an input's cannot be widened, so most inputs are left behind at once.
    tensors = [tensor if draw(chance(10)) else layers.Dense(draw(st.integers(2, 5)))(tensor) for tensor in inputs]
    if rank == 1 and draw(st.booleans()):
        inputs.append(keras.Input((shape[0],), dtype="int32"))
        tensors.append(layers.Embedding(7, draw(st.integers(2, 5)))(inputs[-1]))
    for _ in range(draw(st.integers(2, 7))):
        kinds = [made] * 4 + [passed] * 4 + [moved, joined, joined, concatenated] * 2 + [stopped]
        kinds += [constant, constant, nested, nested, shared, constrained, constrained, masked] * unusual
        tensors.append(draw(st.sampled_from(kinds))(draw, tensors))
    used = list(inputs if draw(chance(4)) else tensors[: len(inputs)])
    used += [tensors[-1], *draw(st.lists(st.sampled_from(tensors), max_size=1))]
    heads = [head(draw, tensor) for tensor in used if tensor.dtype != "int32"]
    outputs = [layers.Dense(3)(layers.Concatenate()(heads) if len(heads) > 1 else heads[0])]
    if draw(chance(10)):
        outputs.append(tensors[-1])
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    batch = [
        rng.integers(7, size=(2, *each.shape[1:])).astype("int32")
        if each.dtype == "int32"
        else rng.normal(size=(2, *each.shape[1:])).astype(each.dtype)
        for each in inputs
    ]
    if unusual and rank == 1:
        batch[0][:, -1] = 0  # what a mask leaves out
    return stepped(randomise(keras.Model(inputs, outputs), rng)), batch


def stepped(model):
    """The model after a training step at rate zero: its constraints have acted."""
    for variable in model.weights:
        if variable.constraint is not None:
            variable.assign(variable.constraint(variable))
    return model


def chance(one_in):
    """True once in so many draws."""
    return st.integers(1, one_in).map(lambda number: number == one_in)


def stopped(draw, tensors):
    return draw(st.sampled_from(STOPS))()(draw(st.sampled_from(tensors)))


def made(draw, tensors):
    """A convolution of any kind, or a dense layer."""
    tensor = draw(st.sampled_from(tensors))
    rank, channels = len(tensor.shape) - 2, tensor.shape[-1]
    width, bias, activation = draw(st.integers(2, 6)), draw(st.booleans()), draw(st.sampled_from(ACTIVATIONS))
    options = {"use_bias": bias, "activation": activation}
    kinds = ["Dense", *["Conv", "Grouped", "Transposed"] * (rank > 0), *["Depthwise", "Separable"] * (rank in (1, 2))]
    match draw(st.sampled_from(kinds)):
        case "Dense":
            return layers.Dense(width, **options)(tensor)
        case "Conv":
            if draw(st.booleans()):
                options |= {"dilation_rate": 2}
            else:
                options |= {"strides": draw(st.sampled_from([1, 2]))}
            return of_rank("Conv", rank)(width, draw(st.sampled_from([1, 3])), padding="same", **options)(tensor)
        case "Grouped":
            groups = draw(st.sampled_from([g for g in (1, 2, 3, 4) if channels % g == 0]))
            return of_rank("Conv", rank)(groups * 2, 3, padding="same", groups=groups, **options)(tensor)
        case "Transposed":
            return layers_transposed(rank)(width, 3, padding="same", **options)(tensor)
        case "Depthwise":
            multiplier = draw(st.sampled_from([1, 2]))
            return of_rank("DepthwiseConv", rank)(3, padding="same", depth_multiplier=multiplier, **options)(tensor)
        case _:
            multiplier = draw(st.sampled_from([1, 2]))
            separable = of_rank("SeparableConv", rank)
            return separable(width, 3, padding="same", depth_multiplier=multiplier, **options)(tensor)


def layers_transposed(rank):
    return getattr(layers, f"Conv{rank}DTranspose")


def passed(draw, tensors):
    """What works on each channel by itself, or would."""
    tensor = draw(st.sampled_from(tensors))
    rank = len(tensor.shape) - 2
    kinds = list(PLAIN)
    if rank > 0:
        kinds += [
            lambda draw: layers.PReLU(shared_axes=draw(st.sampled_from([None, [1], list(range(1, rank + 1))]))),
            lambda _: of_rank("SpatialDropout", rank)(0.1),
            lambda _: of_rank("ZeroPadding", rank)(1),
            lambda _: of_rank("UpSampling", rank)(2),
        ]
    if rank in (1, 2) or (rank == 3 and keras.config.dtype_policy().name != "float64"):  # TensorFlow has no such kernel
        kinds += [
            lambda _: of_rank("MaxPooling", rank)(2, strides=1, padding="same"),
            lambda _: of_rank("AveragePooling", rank)(2, strides=1, padding="same"),
            lambda _: of_rank("AdaptiveAveragePooling", rank)(2),
        ]
    if rank == 2:
        kinds += [lambda _: layers.Resizing(3, 5), lambda _: layers.UpSampling2D(2, interpolation="bicubic")]
    kinds += [lambda _: lambda x: 1 - x, lambda _: lambda x: x * 0.5 + 3, lambda _: keras.ops.relu]
    kinds += [lambda _: keras.ops.negative, lambda _: keras.ops.silu, lambda _: lambda x: x / (1 + keras.ops.abs(x))]
    return draw(st.sampled_from(kinds))(draw)(tensor)


def moved(draw, tensors):
    """What moves values to other places."""
    tensor = draw(st.sampled_from(tensors))
    space, channels, rank = tensor.shape[1:-1], tensor.shape[-1], len(tensor.shape) - 2
    kinds = [lambda: layers.Flatten(), lambda: layers.Reshape((*space[::-1], channels))]
    if rank == 0:
        kinds += [lambda: layers.RepeatVector(3), lambda: layers.Reshape((1, 1, channels))]
    if rank > 0:
        order = draw(st.permutations(range(1, rank + 2)))
        kinds += [
            lambda: layers.Permute(order),
            lambda: layers.Reshape((-1, channels)),
            lambda: layers.Reshape((*space[:-1], space[-1] * channels)),
            lambda: of_rank("GlobalAveragePooling", rank)(keepdims=draw(st.booleans())),
            lambda: of_rank("GlobalMaxPooling", rank)(),
            lambda: of_rank("Cropping", rank)(0),
        ]
    return draw(st.sampled_from(kinds))()(tensor)


def joined(draw, tensors):
    """A residual join with a tensor of the same shape or one that is made for it; or a squeeze and excitation."""
    tensor = draw(st.sampled_from(tensors))
    same = [each for each in tensors if each.shape == tensor.shape and each is not tensor]
    others = [layers.Dense(tensor.shape[-1]), layers.Dense(tensor.shape[-1], activation="relu")]
    other = draw(st.sampled_from(same)) if same and draw(st.booleans()) else draw(st.sampled_from(others))(tensor)
    if len(tensor.shape) > 2 and draw(st.booleans()):
        pool = of_rank("GlobalAveragePooling", len(tensor.shape) - 2)
        return layers.Multiply()(
            [tensor, layers.Dense(draw(st.sampled_from([1, tensor.shape[-1]])))(pool(keepdims=True)(tensor))]
        )
    operators = [keras.ops.add, keras.ops.subtract, keras.ops.multiply, keras.ops.maximum, keras.ops.minimum]
    if draw(st.booleans()):
        return draw(st.sampled_from(operators))(tensor, other)
    return draw(st.sampled_from(JOINS))()([tensor, other])


def concatenated(draw, tensors):
    tensor = draw(st.sampled_from(tensors))
    other = layers.Dense(draw(st.integers(1, 3)))(tensor)
    same = [each for each in tensors if each.shape == tensor.shape]
    if len(tensor.shape) > 2 and draw(st.booleans()):
        return layers.Concatenate(axis=1)([tensor, draw(st.sampled_from(same))])
    return layers.Concatenate()([tensor, other])


def constant(draw, tensors):
    """Joined with a number, or with an array that has all channels or one, by an operation or a layer."""
    tensor = draw(st.sampled_from(tensors))
    rank, channels = len(tensor.shape) - 1, tensor.shape[-1]
    values = np.random.default_rng(draw(st.integers(0, 9))).normal(size=channels) + draw(st.sampled_from([0.0, 3.0]))
    array = values.reshape([1] * rank + [channels])[..., : draw(st.sampled_from([1, channels]))]
    if draw(st.booleans()):
        if draw(chance(5)):
            array = np.broadcast_to(array, (2, *tensor.shape[1:-1], array.shape[-1]))
            return layers.Concatenate()([tensor, keras.ops.convert_to_tensor(array)])
        return draw(st.sampled_from(JOINS))()(
            [tensor, draw(st.sampled_from([array, keras.ops.convert_to_tensor(array)]))]
        )
    operand = draw(st.sampled_from([array, array[..., 0].flat[0].item()]))
    operator = draw(st.sampled_from([keras.ops.add, keras.ops.subtract, keras.ops.multiply, keras.ops.maximum]))
    return operator(operand, tensor) if draw(st.booleans()) else operator(tensor, operand)


def nested(draw, tensors):
    """A model within the model, called with a list or a dictionary, or on an axis that it drops."""
    z, a = draw(st.sampled_from(tensors)), draw(st.sampled_from(tensors))
    inputs = {name: keras.Input(each.shape[1:], name=name, dtype=each.dtype) for name, each in (("z", z), ("a", a))}
    x, y = (layers.Dense(3, activation=draw(st.sampled_from(ACTIVATIONS)))(each) for each in inputs.values())
    x = layers.Subtract()([x, y]) if z.shape[:-1] == a.shape[:-1] else x
    structure = draw(st.sampled_from([inputs, list(inputs.values())]))
    inner = keras.Model(structure, [x, y])
    given = draw(st.sampled_from([{"z": z, "a": a}, {"a": a, "z": z}, [z, a]]))
    if isinstance(given, list) != isinstance(structure, list) and (isinstance(given, list) or z.shape != a.shape):
        given = [z, a] if isinstance(structure, list) else {"a": a, "z": z}  # Keras exchanges inputs of unlike shapes
    return inner(given)[draw(st.integers(0, 1))]


def shared(draw, tensors):
    """One tensor in several arguments, or another one in an argument that has a name."""
    tensor, other = draw(st.sampled_from(tensors)), draw(st.sampled_from(tensors))
    kinds = [lambda: layers.Multiply()([tensor, tensor]), lambda: tensor + tensor, lambda: Keyed()(tensor, gate=tensor)]
    if tensor.shape[:-1] == other.shape[:-1]:
        kinds += [lambda: Keyed()(tensor, gate=other), lambda: layers.Concatenate()([tensor, other, tensor])]
    return draw(st.sampled_from(kinds))()


def constrained(draw, tensors):
    """A layer whose kernel or whose offsets are constrained, and what may widen it or be widened by it."""
    tensor, constraint = draw(st.sampled_from(tensors)), draw(st.sampled_from(CONSTRAINTS))
    kinds = [
        lambda: layers.Dense(4, kernel_constraint=constraint(), activation=draw(st.sampled_from(ACTIVATIONS)))(tensor),
        lambda: layers.Dense(4, bias_constraint=constraint())(layers.Dense(3, activation="relu")(tensor)),
        lambda: layers.ReLU()(layers.BatchNormalization(gamma_constraint=keras.constraints.NonNeg())(tensor)),
    ]
    if len(tensor.shape) == 3:
        kinds += [lambda: layers.Conv1D(4, 3, padding="same", kernel_constraint=constraint())(tensor)]
    return draw(st.sampled_from(kinds))()


def masked(draw, tensors):
    """Positions of zeros are left out by what comes behind, if there are positions in one row."""
    tensor = draw(st.sampled_from(tensors))
    if len(tensor.shape) != 3:
        return tensor
    tensor = layers.Masking()(tensor)
    kinds = [lambda: tensor, lambda: layers.SimpleRNN(3, return_sequences=True)(tensor)]
    kinds += [lambda: layers.ReLU()(layers.SimpleRNN(3, return_sequences=True)(tensor))]
    return draw(st.sampled_from(kinds))()


def head(draw, tensor):
    """A vector, by flattening or by pooling."""
    rank = len(tensor.shape) - 2
    if rank == 0:
        return tensor
    return (layers.Flatten() if draw(st.booleans()) or rank > 3 else of_rank("GlobalAveragePooling", rank)())(tensor)
