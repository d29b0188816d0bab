"""The networks that children may grow from, with their weights."""

from collections.abc import Iterable
from dataclasses import replace

from eas_tf.errors import InvalidConfiguration
from eas_tf.evaluation.child import Child, Family
from eas_tf.evaluation.protocol import Request
from eas_tf.evaluation.scratch import ScratchFolder
from eas_tf.surgery import save_network

#: Children whose weights are kept for children of their own, the latest. Others are trained again.
MOST = 50


class Families:
    """A family for each parent, by the parent's layer string.

    Args:
        families: Those that are there from the beginning, with different layer strings.
        folder: Where trained children are kept, so that they may be parents, until `close`; None if they may not.
    """

    def __init__(self, families: Iterable[Family], folder: ScratchFolder | None = None) -> None:
        self._families = {str(family.architecture): family for family in families}
        self._folder = folder
        self._requests: dict[str, Request] = {}
        self._kept: list[str] = []

    def __getitem__(self, parent: str) -> Family:
        """The family of a parent.

        Raises:
            InvalidConfiguration: If its weights are not there.
        """
        if parent not in self._families:
            raise InvalidConfiguration(
                f"Children grow from the weights of their parent, and there are none of {parent}. An environment that "
                "is copied, unpickled or closed loses those of the networks that it has trained: call reset() and "
                f"train it again. Networks with weights: {'; '.join(self._families)[:300]}"
            )
        return self._families[parent]

    def lost(self, parent: str) -> Request | None:
        """What trains a child whose weights are not there, or no longer; None if they are, or it is no child."""
        return None if parent in self._families else self._requests.get(parent)

    def add(self, request: Request, child: Child) -> None:
        """Take in a finished child; of equal layer strings the first one that did not fail counts."""
        name = str(request.architecture)
        if self._folder is None or child.result.failure or name in self._families:
            return
        self._requests.setdefault(name, request)
        if child.graph:
            path = self._folder.path / f"{child.graph.digest}.keras"
            save_network(child.graph, path)
            self._families[name] = replace(
                self[request.parent], parent=path, digest=child.graph.digest, architecture=request.architecture
            )
            self._kept.append(name)

    def forget_oldest(self) -> None:
        """Remove the weights of children beyond the latest; not while children of theirs are trained."""
        while len(self._kept) > MOST:
            self._families.pop(self._kept.pop(0)).parent.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove what was kept. It may be called twice."""
        if self._folder:
            self._folder.close()
