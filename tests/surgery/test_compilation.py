"""A new model is compiled by the objects of the old one: losses, metrics, optimizers, whatever they are made of."""

import functools

import keras
import numpy as np
import pytest

from eas_tf.surgery import deepen, deepenable, explain, grow, widen, widenable

layers = keras.layers
BATCH = np.ones((8, 4))


def sequential():
    keras.utils.set_random_seed(0)
    hidden = layers.Dense(5, activation="relu", name="h", bias_initializer="ones")
    return keras.Sequential([keras.Input((4,)), hidden, layers.Dense(1, name="out")])


def two_headed():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    h = layers.Dense(5, activation="relu", name="h")(inputs)
    return keras.Model(inputs, {"a": layers.Dense(1, name="a")(h), "b": layers.Dense(1, name="b")(h)})


def evaluated(model, y=5.0, **options):
    target = np.full((8, 1), y)
    target = {"a": target, "b": target} if len(model.outputs) > 1 else target
    return model.evaluate(BATCH, target, verbose=0, return_dict=True, **options)


def weighted(weight):
    def loss(truth, given):
        return weight * keras.ops.mean(keras.ops.square(truth - given))

    return loss


def mean_square(truth, given):
    return keras.ops.mean(keras.ops.square(truth - given), -1)


def power(truth, given, exponent):
    return keras.ops.mean(keras.ops.abs(truth - given) ** exponent, -1)


class Scaled(keras.losses.Loss):
    """Has a setting that is in no configuration."""

    def __init__(self, k=1.0, **options):
        super().__init__(**options)
        self.k = k

    def call(self, truth, given):
        return self.k * keras.ops.mean(keras.ops.square(truth - given), -1)


class Callable:
    """Is no class of Keras."""

    def __init__(self, k):
        self.k = k

    def __call__(self, truth, given):
        return self.k * keras.ops.mean(keras.ops.abs(truth - given))


class WorstError(keras.metrics.Metric):
    """Has a setting that is in no configuration, and variables in a list and in another metric."""

    def __init__(self, k=1.0, **options):
        super().__init__(**options)
        self.k = k
        self.parts = [self.add_variable((), "zeros", name="worst")]
        self.mean = keras.metrics.Mean()

    def update_state(self, truth, given, sample_weight=None):
        error = keras.ops.max(keras.ops.abs(truth - given), -1)
        self.parts[0].assign(keras.ops.maximum(self.parts[0], keras.ops.max(error)))
        self.mean.update_state(error, sample_weight)

    def result(self):
        return self.k * (self.parts[0] + self.mean.result())


LOSSES = {
    "name": "mae",
    "settings": keras.losses.Huber(delta=0.1),
    "reduction": keras.losses.MeanSquaredError(reduction="sum"),
    "closure": weighted(7.0),
    "lambda": lambda truth, given: 3 * keras.ops.mean(truth - given),
    "partial": functools.partial(power, exponent=3),
    "own class": Scaled(k=50.0),
    "own callable": Callable(9.0),
    "bound method": Scaled(k=11.0).call,
    "smoothed": keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.3),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_losses(loss):
    model = sequential()
    model.compile("sgd", loss, run_eagerly=True)
    assert evaluated(widen(model, "h", 8, rng=0)) == pytest.approx(evaluated(model), rel=1e-5)


@pytest.mark.parametrize("weights", [None, {"a": 0.3, "b": 7.0}], ids=["unweighted", "weighted"])
@pytest.mark.parametrize(
    "loss", [{"a": weighted(1.0), "b": weighted(100.0)}, {"a": Scaled(3.0), "b": "mae"}], ids=["one name", "classes"]
)
def test_losses_by_output(loss, weights):
    model = two_headed()
    model.compile("sgd", loss, loss_weights=weights, run_eagerly=True)
    assert evaluated(widen(model, "h", 8, rng=0)) == pytest.approx(evaluated(model), rel=1e-5)


@pytest.mark.parametrize("weights", [None, [0.3, 7.0]])
def test_losses_in_a_list(weights):
    named = two_headed()
    model = keras.Model(named.input, [named.output["a"], named.output["b"]])
    model.compile("sgd", [weighted(1.0), weighted(100.0)], loss_weights=weights, run_eagerly=True)
    grown = widen(model, "h", 8, rng=0)
    expected, got = ([*each.evaluate(BATCH, [np.ones((8, 1))] * 2, verbose=0)] for each in (model, grown))
    assert got == pytest.approx(expected, rel=1e-5)


METRICS = {
    "names": ["mae", "accuracy"],
    "settings": [keras.metrics.BinaryAccuracy(threshold=0.9), keras.metrics.AUC(num_thresholds=7, name="area")],
    "functions": [mean_square, lambda truth, given: keras.ops.mean(given - 2 * truth, -1)],
    "own class": [WorstError(k=5.0)],
    "wrapped": [keras.metrics.MeanMetricWrapper(functools.partial(power, exponent=3), name="cube")],
}


@pytest.mark.parametrize("kind", ["metrics", "weighted_metrics"])
@pytest.mark.parametrize("metrics", METRICS.values(), ids=METRICS)
def test_metrics(metrics, kind):
    model = sequential()
    model.compile("sgd", "mse", **{kind: metrics}, run_eagerly=True)
    options = {"sample_weight": np.arange(8.0)}
    grown = widen(model, "h", 8, rng=0)
    expected = evaluated(model, 1.0, **options)
    assert evaluated(grown, 1.0, **options) == pytest.approx(expected, rel=1e-5)
    assert len(expected) == 1 + len(metrics)


def test_metrics_by_output():
    model = two_headed()
    shared = WorstError(k=2.0, name="shared")
    model.compile(
        "sgd", {"a": "mse", "b": "mae"}, metrics={"a": [shared, "mae"], "b": WorstError(k=3.0)}, run_eagerly=True
    )
    assert evaluated(widen(model, "h", 8, rng=0)) == pytest.approx(evaluated(model), rel=1e-5)


@pytest.mark.parametrize("metric", [lambda: WorstError(k=5.0), lambda: keras.metrics.AUC(num_thresholds=9)])
def test_the_new_models_metrics_are_its_own(metric):
    model = sequential()
    model.compile("sgd", "mse", metrics=[metric()], run_eagerly=True)
    evaluated(model, 1.0)
    before = model.get_metrics_result()
    grown = widen(model, "h", 8, rng=0)
    assert evaluated(grown, 0.0) != before
    assert model.get_metrics_result() == before
    assert not {id(each) for each in model.metrics_variables} & {id(each) for each in grown.metrics_variables}


class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """Has no get_config, as in tutorials."""

    def __init__(self, width, steps=4000):
        self.width, self.steps = width, steps

    def __call__(self, step):
        step = keras.ops.cast(step, "float32") + 1.0
        return self.width**-0.5 * keras.ops.minimum(step**-0.5, step * self.steps**-1.5)


class Halving(keras.optimizers.SGD):
    """Has a setting that is in no configuration, and slots of its own."""

    def __init__(self, factor, **options):
        super().__init__(**options)
        self.factor = factor

    def build(self, variables):
        super().build(variables)
        self.seen = [self.add_variable_from_reference(variable, "seen") for variable in variables]

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(gradient * self.factor, variable, learning_rate)


OPTIMIZERS = {
    "name": lambda: "adam",
    "settings": lambda: keras.optimizers.SGD(0.3, momentum=0.8, nesterov=True, clipnorm=0.5),
    "schedule": lambda: keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)),
    "own schedule": lambda: keras.optimizers.Adam(WarmUp(64, steps=3)),
    "callable": lambda: keras.optimizers.SGD(lambda: 0.03),
    "own class": lambda: Halving(0.25, learning_rate=0.1, momentum=0.9),
    "averaged": lambda: keras.optimizers.RMSprop(0.1, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=2),
    "decayed": lambda: keras.optimizers.AdamW(0.1, weight_decay=0.4, amsgrad=True),
    "scaled": lambda: keras.optimizers.LossScaleOptimizer(Halving(0.5, learning_rate=0.1), initial_scale=4.0),
    "accumulating": lambda: keras.optimizers.SGD(0.1, gradient_accumulation_steps=2),
    "nadam": lambda: keras.optimizers.Nadam(0.1),
}


@pytest.mark.parametrize("trained", [False, True], ids=["new", "used"])
@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_optimizers_of_the_same_settings_take_the_same_steps(make, trained):
    """No layer is wider in the new model (`grow` without steps), so both must take the same steps from here."""
    model, twin = sequential(), sequential()
    model.compile(make(), "mse", run_eagerly=True)
    if trained:
        model.fit(BATCH, np.ones((8, 1)), epochs=2, verbose=0)
    grown = grow(model, [])
    assert type(grown.optimizer) is type(model.optimizer)
    assert grown.optimizer is not model.optimizer
    twin.set_weights(model.get_weights())
    twin.compile(make(), "mse", run_eagerly=True)
    for each in (grown, twin):
        each.fit(BATCH, np.ones((8, 1)), epochs=3, verbose=0)
    for got, expected in zip(grown.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6)
    assert not np.allclose(grown.get_weights()[0], model.get_weights()[0])


def test_the_learning_rate_is_the_present_one():
    model = sequential()
    model.compile(keras.optimizers.SGD(0.5), "mse", run_eagerly=True)
    model.optimizer.learning_rate = 0.125
    assert float(widen(model, "h", 8, rng=0).optimizer.learning_rate) == 0.125


@pytest.mark.parametrize("by", ["name", "variable"])
@pytest.mark.parametrize("wrap", [lambda each: each, keras.optimizers.LossScaleOptimizer], ids=["plain", "scaled"])
def test_what_is_excluded_from_weight_decay(by, wrap):
    model = sequential()
    optimizer = keras.optimizers.AdamW(1e-9, weight_decay=0.5)
    excluded = {"var_names": ["bias"]} if by == "name" else {"var_list": [model.get_layer("h").bias]}
    optimizer.exclude_from_weight_decay(**excluded)
    model.compile(wrap(optimizer), "mse", run_eagerly=True)
    grown = deepen(widen(model, "h", 8, rng=0), "h")
    inner = getattr(grown.optimizer, "inner_optimizer", grown.optimizer)
    decayed = {f"{layer.name}/{w.name}": inner._use_weight_decay(w) for layer in grown.layers for w in layer.weights}
    named = {"out/bias", "h_deeper/bias"} if by == "name" else set()
    assert {name for name, is_decayed in decayed.items() if not is_decayed} == {"h/bias", *named}


def test_how_it_is_run_survives():
    model = sequential()
    model.compile("sgd", "mse", run_eagerly=True, steps_per_execution=1, jit_compile=False)
    grown = widen(model, "h", 8, rng=0)
    assert (grown.run_eagerly, grown.steps_per_execution, grown.jit_compile) == (True, 1, False)


def test_reading_never_needs_the_compilation():
    model = sequential()
    model.compile(keras.optimizers.Adam(WarmUp(64)), lambda truth, given: given - truth, run_eagerly=True)
    assert (widenable(model), deepenable(model)) == ({"h": 5}, ["h"])
    assert explain(model, "h").startswith("h (Dense, 5 channels) can be widened.")
    inner = sequential()
    inner.compile(keras.optimizers.Adam(WarmUp(64)), Scaled(2.0), metrics=[WorstError(k=3.0)])
    inputs = keras.Input((4,))
    nested = keras.Model(inputs, layers.Dense(2)(inner(inputs)))
    grown = widen(nested, f"{inner.name}/h", 8, rng=0).get_layer(inner.name)
    assert evaluated(grown) == pytest.approx(evaluated(inner), rel=1e-5)


class Counting(keras.optimizers.SGD):
    """Makes a variable that no build makes."""

    def __init__(self, **options):
        super().__init__(**options)
        self.count = keras.Variable(0.0, trainable=False)


def uses_the_model(model):
    return lambda truth, given: keras.ops.mean(truth - given) + keras.ops.sum(model.get_layer("h").kernel)


@pytest.mark.parametrize("case", ["own weights", "own weights in a metric", "lost variable"])
def test_what_cannot_be_carried_is_said_in_one_line_and_the_child_is_left_uncompiled(case):
    model = sequential()
    if case == "lost variable":
        model.compile(Counting(learning_rate=0.1), "mse", run_eagerly=True)
    elif case == "own weights":
        model.compile("sgd", uses_the_model(model), run_eagerly=True)
    else:
        model.compile(
            "sgd", "mse", metrics=[keras.metrics.MeanMetricWrapper(uses_the_model(model), name="w")], run_eagerly=True
        )
    with pytest.warns(UserWarning, match="is not compiled, compile it yourself: ") as caught:
        grown = widen(model, "h", 8, rng=0)
    (message,) = [str(each.message) for each in caught if each.category is UserWarning]
    assert "\n" not in message
    assert len(message) <= 300
    assert not grown.compiled
    assert model.compiled


class Reaching:
    """Holds a model in an object in a list."""

    def __init__(self, model):
        self.held = [{"model": model}]

    def __call__(self, truth, given):
        return keras.ops.mean(truth - given) + keras.ops.sum(self.held[0]["model"].get_layer("h").kernel)


def through_a_helper(model):
    def penalty():
        return keras.ops.sum(model.get_layer("h").kernel)

    return lambda truth, given: keras.ops.mean(truth - given) + penalty()


def by_default(model):
    def loss(truth, given, kernel=model.layers[0].kernel):
        return keras.ops.mean(truth - given) + keras.ops.sum(kernel)

    return loss


def in_a_comprehension(model):
    return lambda truth, given: sum(keras.ops.sum(model.layers[0].kernel) * k for k in (1.0, 2.0)) + truth - given


@pytest.mark.parametrize("make", [Reaching, through_a_helper, by_default, in_a_comprehension])
def test_weights_that_a_loss_reaches_in_any_way_are_found(make):
    model = sequential()
    model.compile("sgd", make(model), run_eagerly=True)
    with pytest.warns(UserWarning, match="a loss or metric uses the weights of 'h'"):
        assert not widen(model, "h", 8, rng=0).compiled


norm = layers.BatchNormalization(name="norm")  # by the name of the attribute that the loss below uses


class Settings:
    weight = 3.0


@pytest.mark.filterwarnings("error:The new model:UserWarning")
def test_what_a_loss_does_not_reach_is_no_obstacle():
    def loss(truth, given):
        return Settings.weight * keras.ops.norm(truth - given, axis=-1) if truth is not None else later

    if norm is None:
        later = 1
    circle = []
    circle.append(circle)
    model = keras.Sequential([keras.Input((4,)), norm, layers.Dense(5, activation="relu", name="h"), layers.Dense(1)])
    model.compile("sgd", lambda truth, given: loss(truth, given) + len(circle), run_eagerly=True)
    assert evaluated(widen(model, "h", 8, rng=0)) == pytest.approx(evaluated(model), rel=1e-5)


def mapped():
    optimizers = keras.optimizers.OptimizerMap(keras.optimizers.SGD(0.1))
    optimizers["h/.*"] = keras.optimizers.Adam(0.01)
    return keras.optimizers.MultiOptimizer(optimizers)


class Momentum(keras.optimizers.Optimizer):
    """Begins a list of slots, and adds to it."""

    def __init__(self, learning_rate=0.1, **options):
        super().__init__(learning_rate=learning_rate, **options)
        self.slots = []

    def build(self, variables):
        if not self.built:
            super().build(variables)
            for variable in variables:
                self.slots.append(self.add_variable_from_reference(variable, "slot"))

    def update_step(self, gradient, variable, learning_rate):
        slot = self.slots[self._get_variable_index(variable)]
        self.assign(slot, slot * 0.9 + gradient)
        self.assign_sub(variable, keras.ops.cast(learning_rate, variable.dtype) * slot)


class Several(keras.optimizers.SGD):
    """Holds others in a list."""

    def __init__(self, **options):
        super().__init__(**options)
        self.others = [keras.optimizers.Adam(0.1), keras.optimizers.SGD(0.2)]


@pytest.mark.parametrize("make", [mapped, Momentum, Several])
@pytest.mark.parametrize("trained", [False, True], ids=["new", "used"])
def test_optimizers_in_optimizers_are_new_too(make, trained):
    model = sequential()
    model.compile(make(), "mse", run_eagerly=True)
    if trained:
        model.fit(BATCH, np.ones((8, 1)), verbose=0)
    grown = widen(model, "h", 8, rng=0)
    assert grown.compiled
    for each in (grown, model, grown):
        each.fit(BATCH, np.ones((8, 1)), verbose=0)
    for old, new in zip(getattr(model.optimizer, "others", ()), getattr(grown.optimizer, "others", ()), strict=True):
        assert old is not new


def test_optimizers_that_a_function_chooses_cannot_be_carried():
    model, one, other = sequential(), keras.optimizers.SGD(0.1), keras.optimizers.Adam(0.1)
    chosen = keras.optimizers.MultiOptimizer(lambda variable: one if "bias" in variable.path else other)
    model.compile(chosen, "mse", run_eagerly=True)
    with pytest.warns(UserWarning, match="chooses among others by a function, which"):
        assert not widen(model, "h", 8, rng=0).compiled
    model.fit(BATCH, np.ones((8, 1)), verbose=0)


class Weighted(keras.metrics.Metric):
    """Has a variable that `reset_state` leaves alone."""

    def __init__(self, **options):
        super().__init__(**options)
        self.weight = self.add_variable((), "ones", name="weight")
        self.total = self.add_variable((), "zeros", name="total")

    def update_state(self, truth, given, sample_weight=None):  # noqa: ARG002 - Keras's signature
        self.total.assign_add(self.weight * keras.ops.mean(keras.ops.abs(truth - given)))

    def result(self):
        return self.total

    def reset_state(self):
        self.total.assign(0.0)


class Tallying(keras.metrics.MeanMetricWrapper):
    """Wraps a method of its own, which counts."""

    def __init__(self, **options):
        super().__init__(self.counted, **options)
        self.calls = self.add_variable((), "zeros", name="calls")

    def counted(self, truth, given):
        self.calls.assign_add(1.0)
        return keras.ops.mean(keras.ops.abs(truth - given), -1)

    def result(self):
        return self.calls


@pytest.mark.parametrize("metric", [Weighted, Tallying])
def test_metrics_with_variables_and_methods_of_their_own(metric):
    model = sequential()
    model.compile("sgd", "mse", metrics=[metric(name="own")], run_eagerly=True)
    grown = widen(model, "h", 8, rng=0)
    assert evaluated(grown) == pytest.approx(evaluated(model), rel=1e-5)
    assert evaluated(grown)["own"] > 0
    evaluated(grown)
    assert model.get_metrics_result()["own"] == evaluated(model)["own"]


HELD = {}


class GlobalLoss(keras.losses.Loss):
    def call(self, truth, given):
        return keras.ops.mean(truth - given, -1) + keras.ops.sum(HELD["model"].get_layer("h").kernel)


class GlobalCallable:
    def __call__(self, truth, given):
        return keras.ops.mean(truth - given) + keras.ops.sum(HELD["model"].get_layer("h").kernel)


class Trainer:
    """Holds the model too, which its loss does not use."""

    def __init__(self, model):
        self.model, self.weight = model, 3.0

    def train(self):
        self.model.fit(BATCH, np.ones((8, 1)))

    def loss(self, truth, given):
        return self.weight * keras.ops.mean(keras.ops.square(truth - given))


@pytest.mark.parametrize("loss", [GlobalLoss, GlobalCallable])
def test_weights_that_a_method_uses_are_found(loss):
    model = HELD["model"] = sequential()
    model.compile("sgd", loss(), run_eagerly=True)
    with pytest.warns(UserWarning, match="a loss or metric uses the weights of 'h'"):
        assert not widen(model, "h", 8, rng=0).compiled


def test_a_method_of_what_holds_the_model_is_carried_over():
    model = sequential()
    model.compile("sgd", Trainer(model).loss, run_eagerly=True)
    assert evaluated(widen(model, "h", 8, rng=0)) == pytest.approx(evaluated(model), rel=1e-5)


def test_exclusions_from_weight_decay_within_a_multi_optimizer():
    model = sequential()
    adamw = keras.optimizers.AdamW(0.1, weight_decay=0.5)
    adamw.exclude_from_weight_decay(var_list=[model.get_layer("h").kernel], var_names=["bias"])
    optimizers = keras.optimizers.OptimizerMap(adamw, {"nothing": keras.optimizers.SGD(0.1)})
    model.compile(keras.optimizers.MultiOptimizer(optimizers), "mse", run_eagerly=True)
    grown = widen(model, "h", 8, rng=0)
    new = grown.optimizer._optimizer_map.default_optimizer
    decayed = [variable.path for variable in grown.trainable_variables if new._use_weight_decay(variable)]
    assert [path.rpartition("/")[0].rpartition("/")[2] for path in decayed] == ["out"]


class Untouchable:
    """Cannot be looked at."""

    @property
    def __dict__(self):
        raise RuntimeError("leave me alone")

    def __call__(self, truth, given):
        return keras.ops.mean(truth - given)


def test_reading_bears_objects_that_cannot_be_looked_at():
    model = sequential()
    model.compile("sgd", Untouchable(), run_eagerly=True)
    assert widenable(model) == {"h": 5}
    with pytest.warns(UserWarning, match="leave me alone"):
        assert not widen(model, "h", 8, rng=0).compiled
