"""The Gymnasium environment: a thin shell around the pure functions of `transition.py`."""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from eas_tf.architecture import AnySpace, Architecture
from eas_tf.envs.episode import Episode, action_space, make_process, observation_space, parents_of
from eas_tf.envs.evaluators import EVALUATOR_OPTIONS, EvaluatorSource
from eas_tf.errors import InvalidConfiguration
from eas_tf.evaluation import Evaluator, results_of
from eas_tf.evaluation.price import Price
from eas_tf.fields import check_names
from eas_tf.metrics import Metric


class EASEnv(gym.Env[dict[str, Any], dict[str, Any]]):
    """Grow a trained network by function-preserving transformations; the reward is what it then learns.

    - **Observation**, a `Dict`: `layers`, int32 `[max_layers, 3]`, the kind, rung and kernel of each layer,
      zero-padded; `kind`, 0 if a layer is to be inserted, 1 if layers are to be widened, 2 if the episode is over;
      `steps_left`, which counts the step that is due.
    - **Action**, a `Dict`: `deepen`, block, position and kernel number; `widen`, 0 or 1 for each layer. A step reads
      the part that is due and ignores the other.
    - **Legal actions** in `info["action_mask"]` after `reset` and `step`: `deepen`, int8 `[blocks, positions,
      kernels]`; `widen`, int8 `[max_layers]`; zero for the part that is not due. Every choice among the layers that
      may be widened is legal, none too. In the fully connected block no kernel is chosen: only number 0 is legal.
      Where no layer can be inserted, `[0, 0, 0]` is legal and inserts none. `action_space.sample(mask=...)` takes
      this mask and draws a legal action, in vector environments too.
    - **Other spaces** have other kinds of decisions, and so other parts of action and mask: see `Space.kinds`. Of
      `nasbench201` it is `operation`, for each of six edges in turn: 0 to keep what is there, which is legal once
      something is, and 1 to 5 for none, skip, 1x1, 3x3 and average pool.
    - **Illegal actions** change nothing but use up the step, and set `info["illegal"]`.
    - **Reward**: 0 until the last step, then tan(score * pi / 2); 0 for a failed child. The score is the accuracy on
      the validation images, or another metric, times (size / size of the start network)^-price for each price, at most
      1 (MnasNet, Equation 2, where -price is w and was -0.07). Without a price it is the metric itself.
    - **Other info**: `architecture`, the layer string; `parameters`; at the end `accuracy`, `score`, `failure` (empty
      if there was none) and `transformations`.

    - **Copies and processes**: `copy.deepcopy` and `pickle` work at any time; a copy trains with an evaluator of its
      own. It has no weights of networks that the original has trained, and `close` gives them up, too: an episode
      that began with one of them as its `parent` cannot end there, and raises `InvalidConfiguration`. A process that
      is forked after TensorFlow was used cannot train, and raises `InvalidConfiguration`: make `AsyncVectorEnv` with
      `context="spawn"`.
    - **A refused first `reset`** leaves the checker that `gym.make` puts around an environment without what it compares
      the first step with (Gymnasium 1.x): make the environment again, or with `disable_env_checker=True`.

    Version 0 is the first.

    Args:
        space: The name of a search space: see `eas_tf.architecture.SPACES`; outside `gym.make` also a `Space`.
        input_shape: Height, width and channels of the images.
        classes: The number of classes.
        start: The start network's layer string; by default the space's own, fitted to the images.
        schedule: The kind of each step, "deepen" or "widen"; by default the space's own, five and four.
        max_parameters: A limit on trainable weights, which acts through the mask.
        metric: "accuracy", or "balanced_accuracy" for the mean recall of all classes, however rare they are; training
            then counts all classes alike, too.
        price_parameters: What trainable weights cost, 0 or more.
        price_multiply_adds: What multiplications with a weight cost, 0 or more.
        price_start: The layer string of the network that costs nothing; by default the start network's.
        evaluator: "train" for real children, "surrogate" for a closed form; outside `gym.make` also an `Evaluator`.
        render_mode: "ansi" for the layer string, "rgb_array" for a picture.
        options: What "train" needs: the fields of `EvaluatorConfig`, inherited ones too.

    Attributes:
        process: What does not change within an episode.
        evaluator: What gives the evaluator, which is built when the first episode ends.

    Raises:
        InvalidArchitecture: If a network cannot be read, does not fit the images, or starts outside the space.
        InvalidConfiguration: If a name or a number makes no sense, or there is no such option.
    """

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 2}

    def __init__(
        self,
        *,
        space: str | AnySpace = "paper",
        input_shape: Sequence[int] = (32, 32, 3),
        classes: int = 10,
        start: str | None = None,
        schedule: Sequence[str] | None = None,
        max_parameters: int | None = None,
        metric: Metric = "accuracy",
        price_parameters: float = 0.0,
        price_multiply_adds: float = 0.0,
        price_start: str | None = None,
        evaluator: str | Evaluator = "train",
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            modes = ", ".join(self.metadata["render_modes"])
            raise InvalidConfiguration(f"The render modes are {modes}, and None. Received: {render_mode!r}")
        check_names(options, [*(EASEnv.__init__.__kwdefaults__ or ()), *EVALUATOR_OPTIONS], "An environment")
        self.process = make_process(
            space=space,
            input_shape=input_shape,
            classes=classes,
            start=start,
            schedule=schedule,
            max_parameters=max_parameters,
            metric=metric,
            price=Price(parameters=price_parameters, multiply_adds=price_multiply_adds),
            price_start=price_start,
        )
        self.evaluator = EvaluatorSource(evaluator, self.process, options)
        self._episode = Episode.begun(self.process)
        self.observation_space, self.action_space = observation_space(self.process), action_space(self.process)
        self.render_mode = render_mode

    @property
    def architecture(self) -> Architecture:
        """The network as it stands."""
        return self._episode.state.architecture

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Go back to the start network.

        Args:
            seed: Of the environment's generator, from which children get theirs.
            options: `parent`, a layer string or a network of the space, to begin with that one instead. Where children
                are trained it must be the start network or one that this environment has trained.

        Raises:
            InvalidArchitecture: If the parent cannot be read, or is outside the space.
            InvalidConfiguration: If there is no such option, the parent has no weights to grow from, or nothing is to
                be decided about it.
        """
        (parent,) = parents_of(options, self.process, 1, self.evaluator.check_parent)
        episode = Episode.begun(self.process, parent)
        super().reset(seed=seed)
        self._episode = episode
        return self._episode.observation(), self._episode.info()

    def step(self, action: Mapping[str, Any]) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Transform the network; after the last step of the schedule, evaluate it."""
        self._episode = self._episode.after(action)
        info, value = self._episode.info(), 0.0
        if self._episode.over:
            evaluator = self.evaluator()
            (result,) = results_of(evaluator, [self._episode.request(self.np_random)])
            value, outcome = self._episode.outcome(evaluator, result)
            info |= outcome
        return self._episode.observation(), value, self._episode.over, False, info

    def render(self) -> str | np.ndarray | None:
        """The layer string, or a picture, uint8 `[height, width, 3]`."""
        return self._episode.render(self.render_mode)

    def close(self) -> None:
        """End the processes that train children, if there are any."""
        self.evaluator.close()
