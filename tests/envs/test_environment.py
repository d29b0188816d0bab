"""One environment: seeds, memory, ends, refusals, pictures."""

from math import inf, pi, tan

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence
from playing import INFO, OBSERVATION, REWARD, SHORT, TERMINATED, RecordingEvaluator, legal_action, rollout, surrogate

from eas_tf import data
from eas_tf.architecture import SPACES, PlainCNN, parse_move
from eas_tf.envs import EASEnv
from eas_tf.errors import EASError, InvalidArchitecture, InvalidConfiguration
from eas_tf.evaluation.start import train_start
from eas_tf.surgery import load_network
from eas_tf.training.recipe import RATE_FROM_SCRATCH, Recipe
from eas_tf.training.trainer import Trainer

TABLE_1 = SPACES["paper"].start


def test_one_seed_gives_the_same_steps_and_requests():
    one, other = RecordingEvaluator(0.3, 0.8), RecordingEvaluator(0.3, 0.8)
    steps, again = (rollout(EASEnv(evaluator=e), seed=7, actions=1, episodes=3) for e in (one, other))
    assert len(steps) == 30
    assert data_equivalence(steps, again)
    assert one.calls == other.calls
    assert [len(call) for call in one.calls] == [1, 1, 1]


def test_seeds_of_requests_differ_between_seeds_and_between_episodes():
    evaluator = RecordingEvaluator()
    for seed in range(10):
        rollout(EASEnv(evaluator=evaluator, schedule=["widen"]), seed=seed, actions=1, episodes=3)
    assert len(set(evaluator.seeds)) == 30
    assert all(type(seed) is int and 0 <= seed < 2**31 for seed in evaluator.seeds)


def test_reset_with_the_same_seed_begins_the_same_requests_again():
    evaluator = RecordingEvaluator()
    env = EASEnv(evaluator=evaluator, schedule=["widen"])
    for _ in range(2):
        rollout(env, seed=11, actions=1, episodes=2)
    assert evaluator.seeds[:2] == evaluator.seeds[2:]


def test_the_request_and_the_last_info_describe_the_child():
    """What was done to the parent, replayed, is the child of the request and of `info`."""
    evaluator = RecordingEvaluator(0.25)
    steps = rollout(EASEnv(evaluator=evaluator), seed=0, actions=4)
    ((request,),) = evaluator.calls
    child = PlainCNN.parse(TABLE_1)
    for transformation in request.transformations:
        child = transformation.apply(child)
    info = steps[-1][INFO]
    assert request.parent == str(PlainCNN.parse(TABLE_1))
    assert request.architecture == child
    assert info["architecture"] == str(child)
    assert info["parameters"] == child.parameter_count
    assert tuple(map(parse_move, info["transformations"].split())) == request.transformations
    assert (info["accuracy"], info["failure"], info["illegal"]) == (0.25, "", False)
    assert not {"accuracy", "score", "failure", "transformations"} & set().union(*(step[INFO] for step in steps[:-1]))


def test_the_reward_comes_with_the_last_step_only():
    steps = rollout(EASEnv(evaluator=RecordingEvaluator(0.5)), seed=0, actions=0)
    assert [step[REWARD] for step in steps] == pytest.approx([0] * 9 + [1])
    assert [step[TERMINATED] for step in steps] == [False] * 9 + [True]


def test_the_reward_knows_how_many_images_were_validated():
    """Accuracy 1 on 200 images counts as 1 - 1/400."""
    steps = rollout(EASEnv(evaluator=RecordingEvaluator(1.0, validation_images=200)), seed=0, actions=0)
    assert steps[-1][REWARD] == pytest.approx(tan((1 - 1 / 400) * pi / 2))


@pytest.mark.parametrize("price_start", [None, "C(32,3,1), P(4,4,AVG), SM(10)"])
def test_the_reward_is_made_of_the_accuracy_less_the_price(price_start):
    """Without prices the score is the accuracy itself, whatever network costs nothing."""
    prices = {"price_parameters": 0.2, "price_multiply_adds": 0.1}
    for kwargs in ({}, prices):
        env = EASEnv(evaluator=RecordingEvaluator(0.5), schedule=SHORT, price_start=price_start, **kwargs)
        _, reward, *_, info = rollout(env, seed=0, actions=0)[-1]
        child, free = env.architecture, PlainCNN.parse(price_start or TABLE_1)
        expected = 0.5
        for name in kwargs and ("parameter_count", "multiply_adds"):
            expected *= (getattr(child, name) / getattr(free, name)) ** -(0.2 if name == "parameter_count" else 0.1)
        assert info["accuracy"] == 0.5
        assert info["score"] == (0.5 if not kwargs else pytest.approx(expected))
        assert reward == tan(info["score"] * pi / 2)


def test_a_failed_child_earns_nothing_and_says_why():
    evaluator = RecordingEvaluator(0.0, failure="TrainingDiverged: the loss is nan")
    steps = rollout(EASEnv(evaluator=evaluator), seed=0, actions=0)
    assert steps[-1][REWARD] == 0
    assert steps[-1][INFO]["failure"] == "TrainingDiverged: the loss is nan"


def test_observations_and_masks_of_different_calls_share_no_memory():
    env = EASEnv(evaluator=RecordingEvaluator(), schedule=SHORT)
    arrays = []
    for observation, *_, info in rollout(env, seed=0, actions=0, episodes=2):
        arrays += [observation["layers"], info["action_mask"]["deepen"], info["action_mask"]["widen"]]
    for i, array in enumerate(arrays):
        assert array.flags.writeable
        assert not any(np.shares_memory(array, other) for other in arrays[:i])


def test_what_a_user_writes_into_a_mask_changes_nothing():
    """An insertion before the first convolution stays illegal, whatever the caller's copy says."""
    env = EASEnv(evaluator=RecordingEvaluator())
    observation, info = env.reset(seed=0)
    info["action_mask"]["deepen"][:] = 1
    observation["layers"][:] = 0
    observation, *_, info = env.step({"deepen": [0, 0, 1], "widen": []})
    assert info["illegal"]
    assert observation["layers"].any()
    assert not info["action_mask"]["deepen"].all()


@pytest.mark.parametrize("seed", range(3))
def test_gymnasium_can_sample_legal_actions_from_the_mask(seed):
    """`Discrete` over the flattened insertions, and for `MultiBinary` a 2 where it is free to choose."""
    env = surrogate()
    insertions = gym.spaces.Discrete(int(np.prod(env.action_space["deepen"].nvec)), seed=seed)
    layers = env.action_space["widen"]
    layers.seed(seed)
    _, info = env.reset(seed=seed)
    over = False
    while not over:
        mask = info["action_mask"]
        flat = insertions.sample(mask=mask["deepen"].ravel())
        action = {
            "deepen": np.array(np.unravel_index(flat, mask["deepen"].shape)),
            "widen": layers.sample(mask=2 * mask["widen"]),
        }
        assert env.action_space.contains(action)
        _, _, over, _, info = env.step(action)
        assert not info["illegal"]


def test_a_step_after_the_end_needs_a_reset():
    env = EASEnv(evaluator=RecordingEvaluator(), schedule=["deepen"])
    action = legal_action(env.reset(seed=0)[1]["action_mask"], np.random.default_rng(0))
    env.step(action)
    for _ in range(2):
        with pytest.raises(gym.error.ResetNeeded, match=r"call reset\(\)"):
            env.step(action)
    env.reset()
    assert env.step(action)[TERMINATED]


def test_after_the_end_nothing_is_due():
    observation, *_, info = rollout(surrogate(), seed=0, actions=0)[-1]
    assert (observation["kind"], observation["steps_left"]) == (2, 0)
    assert not any(part.any() for part in info["action_mask"].values())


@pytest.mark.parametrize("schedule", [["deepen"], ("widen",), SHORT, ["widen"] * 4 + ["deepen"] * 5, ["deepen"] * 60])
def test_any_schedule_is_followed(schedule):
    """Sixty insertions are more than there is room for: the last of them insert nothing."""
    env = surrogate(schedule=schedule)
    steps = rollout(env, seed=0, actions=0)
    assert [int(step[OBSERVATION]["kind"]) for step in steps] == [kind == "widen" for kind in schedule] + [2]
    assert env.observation_space["steps_left"].n == len(schedule) + 1
    assert len(env.unwrapped.architecture.layers) <= 50
    assert not any(step[INFO]["illegal"] for step in steps)


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"schedule": []}, InvalidConfiguration, r'"deepen" or "widen". Received: \[\]'),
        ({"schedule": ["grow"]}, InvalidConfiguration, r"Received: \['grow'\]"),
        ({"schedule": "widen"}, InvalidConfiguration, r"`schedule` must be a list"),
        ({"schedule": [["widen"]]}, InvalidConfiguration, r"Received: \[\['widen'\]\]"),
        ({"schedule": ["widen"] * 1001}, InvalidConfiguration, r"1 to 1,000 times"),
        ({"max_parameters": -1}, InvalidConfiguration, r"`max_parameters` must be at least 1. Received: -1"),
        ({"max_parameters": 0}, InvalidConfiguration, r"`max_parameters` must be at least 1. Received: 0"),
        ({"max_parameters": 133_529}, InvalidArchitecture, r"133,530 parameters, at most 133,529"),
        (
            {"space": "huge"},
            InvalidConfiguration,
            r"`space` is one of paper, large, toy, digits, .* Received: 'huge'",
        ),
        (
            {"evaluator": "guess"},
            InvalidConfiguration,
            r"are train, surrogate, nasbench201. Received: 'guess'",
        ),
        ({"evaluator": None}, InvalidConfiguration, r"Received: None"),
        ({"evaluator": object}, InvalidConfiguration, r"An evaluator is a name, or an object with"),
        ({"evaluator": 3}, InvalidConfiguration, r"An evaluator is a name, or an object with"),
        ({"evaluator": "nasbench201"}, InvalidConfiguration, r"no networks of the space 'paper'"),
        ({"space": PlainCNN}, InvalidConfiguration, r"A space is an object, not its class"),
        ({"space": object()}, InvalidConfiguration, r"A space has act, check, decision, "),
        (
            {"space": "nasbench201"},
            InvalidConfiguration,
            r"'nasbench201' cannot be trained.*Received: evaluator='train'",
        ),
        (
            {"engine": "foo"},
            InvalidConfiguration,
            r'`engine` is one of pool, inline, ray; for a closed form give evaluator="surrogate"\. Received: .foo',
        ),
        ({"engine": "surrogate"}, InvalidConfiguration, r"`engine` is one of .*Received: 'surrogate'"),
        ({"strategy": "many"}, InvalidConfiguration, r'"single", or "mirrored".*Received: .many.'),
        ({"crop_and_flip": "yes"}, InvalidConfiguration, r"`crop_and_flip` must be .* or \"off\". Received: 'yes'"),
        ({"dropout": 1.0}, InvalidConfiguration, r"`dropout` is a share from 0 to 0.95. Received: 1.0"),
        ({"epochs": 0}, InvalidConfiguration, r"`epochs` must be at least 1. Received: 0"),
        ({"start_seed": -1}, InvalidConfiguration, r"`start_seed` must be at least 0. Received: -1"),
        ({"classes": 100, "start": TABLE_1}, InvalidConfiguration, r"ends in 10 classes. Expected: SM\(100\)"),
        ({"classes": 0}, InvalidArchitecture, r"SM\(0\) must be from 1"),
        ({"start": ""}, InvalidArchitecture, r"At position 0 .* the end of the string"),
        ({"start": "C(16,3,1) SM(10)"}, InvalidArchitecture, r"At position 9"),
        ({"start": "C(16,7,1), SM(10)"}, InvalidArchitecture, r"outside the space 'paper': layer 0, C\(16,7,1\)"),
        ({"start": "C(600,3,1), SM(10)"}, InvalidArchitecture, r"wider than the last rung, 512"),
        ({"start": f"{'C(16,3,1), ' * 11}SM(10)"}, InvalidArchitecture, r"a block has more than 10 layers"),
        ({"input_shape": [32, 32]}, InvalidConfiguration, r"height, width and channels. Received: \(32, 32\)"),
        ({"input_shape": [32, 0, 3]}, InvalidArchitecture, r"positive height"),
        ({"input_shape": [4, 4, 3]}, InvalidArchitecture, r"Use larger images or fewer pools"),
        ({"price_parameters": -1}, InvalidConfiguration, r"`price_parameters` must be a finite number.*Received: -1"),
        ({"price_multiply_adds": inf}, InvalidConfiguration, r"`price_multiply_adds` must be.*Received: inf"),
        ({"price_start": "C(16,3,1)"}, InvalidArchitecture, r"At position 9"),
        (
            {"price_start": "C(16,3,1), SM(5)"},
            InvalidConfiguration,
            r"`price_start` ends in 5 classes. Expected: SM\(10\)",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_when_the_environment_is_made(kwargs, error, message):
    assert issubclass(error, EASError)
    with pytest.raises(error, match=message):
        gym.make("EAS-Cifar10-v0", **kwargs)


@pytest.mark.parametrize("evaluator", ["train", "surrogate", RecordingEvaluator()])
def test_an_unknown_keyword_is_refused_with_the_nearest_one(evaluator):
    for wrong, message in (
        ({"epoch": 3}, r"^An environment has no option `epoch`\. Did you mean `epochs`\?$"),
        ({"max_parmeters": 3}, r"`max_parmeters`\. Did you mean `max_parameters`\?$"),
        ({"foo": 5}, r"`foo`\. It has space, input_shape, .*, epochs, [^\n]+$"),
        ({"kind": "surrogate"}, r"has no option `kind`\."),
        ({"options": {}}, r"has no option `options`\."),
    ):
        with pytest.raises(InvalidConfiguration, match=message):
            EASEnv(evaluator=evaluator, **wrong)


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("start", 5, "a text or None"),
        ("price_start", 5, "a text or None"),
        ("input_shape", 5, "a list in which each is a whole number"),
        ("input_shape", "abc", "a list in which each is a whole number"),
        ("input_shape", [32.5, 32, 3], "a list in which each is a whole number"),
        ("schedule", 5, "a list in which each is a text or None"),
        ("schedule", "widen", "a list in which each is a text or None"),
        ("schedule", [1], "a list in which each is a text or None"),
        ("max_parameters", "5", "a whole number or None"),
        ("max_parameters", True, "a whole number or None"),
        ("classes", "10", "a whole number"),
    ],
)
def test_keyword_arguments_are_of_their_types(name, given, expected):
    with pytest.raises(InvalidConfiguration) as refused:
        gym.make("EAS-Surrogate-v0", **{name: given})
    assert str(refused.value) == f"`{name}` must be {expected}. Received: {given!r}"


def test_keyword_arguments_may_be_numpys():
    env = gym.make("EAS-Surrogate-v0", input_shape=np.array([32, 32, 3]), classes=np.int64(10))
    assert env.unwrapped.process == surrogate().unwrapped.process


def test_the_text_is_the_layer_string_and_follows_the_network():
    env = surrogate(render_mode="ansi")
    env.reset(seed=0)
    assert env.render() == f"{TABLE_1}\n"
    env.step({"deepen": [0, 1, 2], "widen": np.zeros(50, np.int8)})
    assert env.render().startswith("C(16,3,1), C(16,5,1), P(2,2,MAX), ")


def test_the_picture_is_rgb_and_follows_the_network():
    env = surrogate(render_mode="rgb_array")
    env.reset(seed=0)
    before = env.render()
    env.step({"deepen": [0, 1, 2], "widen": np.zeros(50, np.int8)})
    after = env.render()
    assert before.shape == after.shape == (300, 900, 3)
    assert before.dtype == np.uint8
    assert not np.array_equal(before, after)
    assert not np.shares_memory(before, after)


def test_without_a_render_mode_nothing_is_drawn_and_closing_twice_is_fine():
    env = EASEnv(evaluator="surrogate")
    env.reset(seed=0)
    assert env.render() is None
    env.close()
    env.close()


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras, when it saves
def test_dropout_and_crops_reach_the_training(tmp_path):
    """The start network is the one that is trained with them."""
    options = {"epochs": 1, "start_epochs": 1, "cache_dir": str(tmp_path / "cache"), "schedule": ["widen"]}
    rollout(gym.make("EAS-Digits-v0", dropout=0.5, crop_and_flip="on", **options), seed=0, actions=0)
    (kept,) = (tmp_path / "cache").glob("*.keras")
    digits = data.load("digits")
    recipe = Recipe(epochs=1, batch=32, learning_rate=RATE_FROM_SCRATCH, crop_and_flip=True, dropout=0.5)
    start = SPACES["digits"].start_network((8, 8, 1), 10)
    expected = train_start(Trainer(digits), digits, start, recipe, seed=0)
    assert load_network(kept).digest == expected.graph.digest


def test_children_are_trained_and_the_start_network_is_trained_once(tmp_path):
    """Two environments over one cache; the second finds the start network and repeats the first to the bit."""
    results, written = [], []
    for _ in range(2):
        env = gym.make("EAS-Digits-v0", epochs=1, start_epochs=1, cache_dir=str(tmp_path / "cache"), schedule=SHORT)
        assert (tmp_path / "cache").exists() == bool(written), "nothing is trained before the first episode ends"
        results.append(rollout(env, seed=0, actions=0)[-1])
        (network,) = (tmp_path / "cache").glob("*.keras")
        written.append((network.name, network.stat().st_mtime_ns))
    assert written[0] == written[1]
    assert data_equivalence(*results)
    _, reward, terminated, _, info = results[0]
    assert terminated
    assert info["failure"] == ""
    assert 0.1 < info["accuracy"] < 1
    assert reward == pytest.approx(tan(info["accuracy"] * pi / 2))
