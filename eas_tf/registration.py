"""The registered environments, by string entry points: importing this loads neither them nor TensorFlow."""

from typing import Any

from gymnasium import register

_COLOUR, _PAPER_TIME = [32, 32, 3], {"epochs": 20, "start_epochs": 20}

#: Keyword arguments of each id.
ENVIRONMENTS: dict[str, dict[str, Any]] = {
    "EAS-Digits-v0": {
        "dataset": "digits",
        "space": "digits",
        "input_shape": [8, 8, 1],
        "epochs": 4,
        "start_epochs": 12,
        "batch": 32,
    },
    "EAS-Cifar10-v0": {"dataset": "cifar10", "input_shape": _COLOUR, **_PAPER_TIME},
    "EAS-Cifar100-v0": {"dataset": "cifar100", "input_shape": _COLOUR, "classes": 100, **_PAPER_TIME},
    "EAS-Svhn-v0": {"dataset": "svhn_cropped", "input_shape": _COLOUR, **_PAPER_TIME},
    "EAS-FashionMnist-v0": {"dataset": "fashion_mnist", "input_shape": [28, 28, 1], **_PAPER_TIME},
    "EAS-DenseNet-Digits-v0": {
        "dataset": "digits",
        "space": "densenet-digits",
        "input_shape": [8, 8, 1],
        "epochs": 4,
        "start_epochs": 4,
        "batch": 32,
    },
    "EAS-DenseNet-Cifar10-v0": {
        "dataset": "cifar10",
        "space": "densenet",
        "input_shape": _COLOUR,
        **_PAPER_TIME,
    },
    "EAS-NASBench201-v0": {"evaluator": "nasbench201", "space": "nasbench201", "dataset": "cifar10"},
    "EAS-Surrogate-v0": {"evaluator": "surrogate"},
}


def register_environments() -> None:
    """Make the ids known to `gymnasium.make` and `gymnasium.make_vec`."""
    for name, kwargs in ENVIRONMENTS.items():
        register(
            id=name,
            entry_point="eas_tf.envs.environment:EASEnv",
            vector_entry_point="eas_tf.envs.vector:EASVectorEnv",
            kwargs=kwargs,
        )
