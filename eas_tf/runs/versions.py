"""What a result depends on besides configuration and images."""

import sys
from importlib.metadata import version

_PACKAGES = ("eas_tf", "tensorflow", "keras", "gymnasium", "numpy", "tensorflow-datasets")


def versions() -> dict[str, str]:
    """Of Python, and of all packages that a result depends on."""
    return {"python": sys.version.split()[0], **{package: version(package) for package in _PACKAGES}}
