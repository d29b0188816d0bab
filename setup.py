"""Map the folders `envs/` and `agents/` to `eas_tf.envs` and `eas_tf.agents`; the rest is in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["eas_tf", "eas_tf.*"]), "eas_tf.envs", "eas_tf.agents"],
    package_dir={"eas_tf.envs": "envs", "eas_tf.agents": "agents"},
    package_data={"eas_tf": ["py.typed"], "eas_tf.data": ["*.npz", "*.md"], "eas_tf.report": ["*.jinja"]},
)
