import controller_reference as reference
import keras
import numpy as np
import pytest
import tensorflow as tf
from told import outcomes

from eas_tf.agents.policy import Samples
from eas_tf.agents.reinforce import ReinforceAgent, ReinforceConfig
from eas_tf.errors import EASError, InvalidConfiguration

BLOCK, LAYER = 2, 1
DEEPEN, WIDEN, OVER = range(3)


@pytest.fixture
def eagerly():
    """Tracing takes seconds for each agent, and most tests run its functions only a few times."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def make(case):
    def make(seed=0, **settings):
        return ReinforceAgent(*case.spaces(), rng=np.random.default_rng(seed), config=ReinforceConfig(**settings))

    return make


def episodes(agent, case, *, n=4, deepen=2, widen=1, seed=0):
    """One batch of episodes on random networks and masks; the actions, step by step."""
    rng, actions = np.random.default_rng(seed), []
    for left in range(deepen + widen, 0, -1):
        rows = case.layers(rng, rng.integers(1, 7, n))
        due = left > widen
        masks = (
            case.mask(n, deepen=case.some_legal(rng, n, chance=0.6)) if due else case.mask(n, widen=rows[..., 0] > 0)
        )
        step = case.observation(rows, DEEPEN if due else WIDEN, left)
        actions.append((step, masks, agent.act(step, masks)))
    return actions


def bandit(agent, case, batches, n=10):
    """Mean reward of each batch: 1 for one block, 1 for widening one layer, -1/5 for each other layer."""
    rows, means = np.repeat(case.layers(np.random.default_rng(0), [5]), n, 0), []
    for _ in range(batches):
        deepen = agent.act(case.observation(rows, DEEPEN, 2), case.mask(n, deepen=1))["deepen"]
        widen = agent.act(case.observation(rows, WIDEN, 1), case.mask(n, widen=[1, 1, 1, 1, 1, 0]))["widen"]
        rewards = (deepen[:, 0] == BLOCK) + 1.2 * widen[:, LAYER] - widen.sum(axis=1) / 5
        agent.learn(outcomes(rewards))
        means.append(rewards.mean())
    return np.array(means)


def test_the_defaults_are_the_papers():
    assert ReinforceConfig() == ReinforceConfig(learning_rate=2e-3, entropy_bonus=1e-5, baseline_decay=0.95)


@pytest.mark.parametrize(
    "setting",
    [
        {"learning_rate": 0.0},
        {"learning_rate": float("inf")},
        {"learning_rate": float("nan")},
        {"entropy_bonus": -1e-5},
        {"baseline_decay": 1.0},
        {"baseline_decay": -0.1},
        {"baseline_decay": float("nan")},
    ],
)
def test_nonsense_is_refused(setting):
    with pytest.raises(InvalidConfiguration, match=str(next(iter(setting.values())))):
        ReinforceConfig(**setting)


def test_actions_lie_in_the_action_space_and_within_the_mask(make, case):
    _, space = case.spaces()
    agent = make()
    for step, masks, actions in episodes(agent, case, n=300, deepen=3, widen=3):
        assert actions["deepen"].dtype == np.int64
        assert actions["widen"].dtype == np.int8
        assert all(space.contains({key: actions[key][i] for key in actions}) for i in range(300))
        if step["kind"][0] == DEEPEN:
            assert masks["deepen"][np.arange(300), *actions["deepen"].T].all()
            assert not actions["widen"].any()
        else:
            assert not (actions["widen"] & (1 - masks["widen"])).any()
            assert actions["widen"].any()
            assert not actions["deepen"].any()


@pytest.mark.usefixtures("eagerly")
def test_nothing_is_decided_when_the_episode_is_over(make, case):
    agent = make()
    rows = case.layers(np.random.default_rng(0), [3, 4])
    actions = agent.act(case.observation(rows, OVER, 0), case.mask(2))
    assert not any(part.any() for part in actions.values())
    with pytest.raises(EASError, match="nothing to learn"):
        agent.learn(outcomes(np.ones(2)))


@pytest.mark.usefixtures("eagerly")
def test_episodes_of_different_lengths_are_learned_from_with_their_own_advantages(make, case):
    """Three networks with 2, 1 and 2 steps; the second is over while the others take their last step."""
    rng, agents = np.random.default_rng(0), [make(seed=3, entropy_bonus=0.0) for _ in range(2)]
    rows = case.layers(rng, [3, 4, 5])
    first = {"layers": rows, "kind": np.array([0, 1, 0]), "steps_left": np.array([2, 1, 2])}
    last = {"layers": rows, "kind": np.array([1, 2, 1]), "steps_left": np.array([1, 0, 1])}
    widen = rows[..., 0] > 0
    masks = case.mask(3, deepen=np.array([1, 0, 1])[:, None, None, None], widen=widen & [[0], [1], [0]])
    for agent in agents:
        actions = agent.act(first, masks)
        assert not actions["deepen"][1].any()
        assert not actions["widen"][[0, 2]].any()
        assert not agent.act(last, case.mask(3, widen=widen & [[1], [0], [1]]))["widen"][1].any()
        trajectory = agent._trajectory
    samples, whose = trajectory.samples(agents[0]._sizes)
    assert whose.tolist() == [0, 2, 1, 0, 2]
    assert [len(each.tokens) for each in samples] == [2, 3]
    assert agents[0].learn(outcomes(np.array([1.0, 2.0, 3.0]))) == agents[1].learn(outcomes(np.array([1.0, 2.0, 3.0])))


@pytest.mark.usefixtures("eagerly")
def test_the_seed_decides_and_keras_global_seed_does_not(make, case):
    runs = []
    for seed, world in ((0, 1), (0, 2), (7, 1)):
        keras.utils.set_random_seed(world)
        agent = make(seed)
        decisions = []
        for batch in range(2):
            actions = episodes(agent, case, seed=batch)
            decisions += [part.ravel() for _, _, action in actions for part in action.values()]
            diagnostics = agent.learn(outcomes(np.arange(4.0)))
        runs.append((np.concatenate(decisions), diagnostics))
    np.testing.assert_array_equal(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]
    assert (runs[0][0] != runs[2][0]).any()


@pytest.mark.usefixtures("eagerly")
def test_learning_without_acting_or_from_wrong_rewards_is_refused(make, case):
    agent = make()
    with pytest.raises(EASError, match="nothing to learn from"):
        agent.learn(outcomes(np.ones(4)))
    episodes(agent, case)
    for rewards in ([], np.ones(3), np.ones(5), [1, 2, np.nan, 3], [1, 2, np.inf, 3]):
        with pytest.raises(EASError, match="each of the 4 networks"):
            agent.learn(outcomes(rewards))
    assert agent.learn(outcomes(np.ones(4)))["advantage"] == 0.0, "a refused call must leave everything as it was"
    with pytest.raises(EASError, match="nothing to learn from"):
        agent.learn(outcomes(np.ones(4)))


@pytest.mark.usefixtures("eagerly")
def test_a_batch_keeps_its_size_and_an_abandoned_one_is_forgotten(make, case):
    agent = make()
    rows = case.layers(np.random.default_rng(0), [3, 4, 5])
    agent.act(case.observation(rows, WIDEN, 2), case.mask(3, widen=rows[..., 0] > 0))
    with pytest.raises(EASError, match="keeps its 3 networks"):
        agent.act(case.observation(rows[:2], WIDEN, 1), case.mask(2, widen=rows[:2, :, 0] > 0))
    agent.act(case.observation(rows[:2], WIDEN, 2), case.mask(2, widen=rows[:2, :, 0] > 0))
    assert agent.learn(outcomes(np.ones(2)))["baseline"] == 1.0


@pytest.mark.usefixtures("eagerly")
def test_the_baseline_is_of_batches_before_this_one(make, case):
    """Means 1, 4, 7 with decay 0.5: the first batch's own mean, then 1, then (0.5 * 1 + 4) / 1.5 = 3."""
    agent, seen = make(baseline_decay=0.5), []
    code, seen_by_code = make(baseline_decay=0.5, baseline_sees_batch=True), []
    for mean in (1.0, 4.0, 7.0):
        for learner, record in ((agent, seen), (code, seen_by_code)):
            episodes(learner, case)
            diagnostics = learner.learn(outcomes(np.full(4, mean)))
            assert diagnostics["advantage"] == pytest.approx(mean - diagnostics["baseline"])
            record.append(diagnostics["baseline"])
    assert seen == pytest.approx([1, 1, 3])
    assert seen_by_code == pytest.approx([1, 3, 9.25 / 1.75])


@pytest.mark.usefixtures("eagerly")
def test_the_loss_and_its_gradient_are_the_formulas(make, case):
    """-(1/B) sum (R - b) sum log p - bonus * (1/B) sum entropies, in NumPy; its slope by central differences.

    Three numbers of every weight array are moved by 1e-4 in float64; those of the embedding in rows that were used.
    """
    bonus, advantages = 0.3, np.array([1.5, -0.5, 0.25], np.float32)
    agent, rng = make(entropy_bonus=bonus), np.random.default_rng(5)
    for variable in agent.policy.trainable_variables:
        variable.assign(variable * 2.0)
    tokens = agent._sizes.tokens(case.layers(rng, [5, 2, 6]))
    legal = case.some_legal(rng, 3, chance=0.8)
    triples = [reference.triples(mask)[-1] for mask in legal]
    choices = (rng.random((3, 6)) < 0.5) & (tokens > 0)
    weights, variables = reference.weights_of(agent.policy)

    def loss():
        total = 0.0
        for i in range(3):
            for log_p, entropy in (
                reference.deepening(weights, tokens[i], legal[i], triples[i]),
                reference.widening(weights, tokens[i], tokens[i] > 0, choices[i]),
            ):
                total -= (advantages[i] * log_p + bonus * entropy) / 3
        return total

    deepen = Samples(tokens, legal, np.array(triples))
    widen = Samples(tokens, tokens > 0, choices.astype(np.int8))
    value, _, gradients = agent._learner.gradients((deepen, widen), np.tile(advantages, 2), np.float32(3))
    assert float(value) == pytest.approx(loss(), abs=1e-5)
    for name, variable in variables.items():
        place = next(i for i, other in enumerate(agent.policy.trainable_variables) if other is variable)
        gradient = gradients[place].numpy()
        for index in rng.permutation(np.argwhere(np.abs(gradient) > 0))[:3]:
            flat, at = weights[name], tuple(index)
            flat[at] += 1e-4
            above = loss()
            flat[at] -= 2e-4
            slope = (above - loss()) / 2e-4
            flat[at] += 1e-4
            assert gradient[at] == pytest.approx(slope, abs=2e-5, rel=1e-3), f"{name}{at}"


@pytest.mark.usefixtures("eagerly")
def test_an_update_makes_rewarded_decisions_likelier_and_others_less_likely(make, case):
    """The first batch's advantages are +1 and -1 for two networks in different states."""
    agent = make()
    rows = case.layers(np.random.default_rng(1), [2, 6])
    triple = agent.act(case.observation(rows, DEEPEN, 2), case.mask(2, deepen=1))["deepen"]
    choice = agent.act(case.observation(rows, WIDEN, 1), case.mask(2, widen=[1, 1, 0, 0, 0, 0]))["widen"]
    tokens, legal = agent._sizes.tokens(rows), np.zeros((2, 6), bool)
    legal[:, :2] = True
    samples = Samples(tokens, np.ones((2, 3, 4, 2), bool), triple), Samples(tokens, legal, choice)
    before = agent.policy.score(samples).log_probability.numpy()
    diagnostics = agent.learn(outcomes(np.array([3.0, 1.0])))
    change = (agent.policy.score(samples).log_probability.numpy() - before).reshape(2, 2).sum(axis=0)
    assert change[0] > 0 > change[1]
    assert diagnostics["baseline"] == 2.0
    assert diagnostics["gradient_norm"] > 0
    gain = (before.reshape(2, 2) * [1, -1]).sum() / 2
    assert diagnostics["loss"] == pytest.approx(-gain - 1e-5 * diagnostics["entropy"], abs=1e-5)


@pytest.mark.usefixtures("eagerly")
def test_equal_rewards_teach_nothing_but_entropy(make, case):
    agent = make(entropy_bonus=0.0)
    before = [v.numpy() for v in agent.policy.trainable_variables]
    episodes(agent, case)
    assert agent.learn(outcomes(np.full(4, 5.0)))["gradient_norm"] == 0.0
    for old, variable in zip(before, agent.policy.trainable_variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize(("deepen", "widen"), [(2, 0), (0, 2)])
def test_a_schedule_may_have_one_kind_of_step_only(make, case, deepen, widen):
    agent = make()
    episodes(agent, case, deepen=deepen, widen=widen)
    assert np.isfinite(list(agent.learn(outcomes(np.arange(4.0))).values())).all()


def test_it_learns_a_bandit(make, case):
    """Block 2 of 3 and layer 1 of 5: random search gets 1/3 + 1.2/2 - 5/2/5 = 0.43, the best is 2."""
    means = bandit(make(3, learning_rate=5e-3), case, 50)
    assert means[:5].mean() < 0.9
    assert means[-10:].mean() > 1.6


def test_keras_global_state_does_not_reach_it(make, case):
    """A search clears Keras's session between children, and may train them in half precision."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        agent = make()
        episodes(agent, case)
        first = agent.learn(outcomes(np.arange(4.0)))
    finally:
        keras.config.set_dtype_policy("float32")
    assert {v.dtype for v in agent.policy.trainable_variables} == {"float32"}
    keras.utils.clear_session()
    episodes(agent, case)
    assert agent.learn(outcomes(np.arange(4.0))).keys() == first.keys()
