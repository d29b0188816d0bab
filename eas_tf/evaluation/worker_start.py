"""Whether this process can start workers, and they can import its main script, as each of them does first."""

import ast
import sys
import threading
from multiprocessing import current_process
from multiprocessing.spawn import get_preparation_data
from pathlib import Path

from eas_tf.errors import InvalidConfiguration

#: What a script asks for to know whether a worker is importing it.
_GUARDS = {"__name__", "parent_process", "current_process"}


def check_worker_start() -> None:
    """Refuse what would keep workers from starting, before anything is trained.

    Raises:
        InvalidConfiguration: If this process is a daemon, as those of `AsyncVectorEnv` are, or if its main script is no
            file, or has no guard, so that every worker would run all of it.
    """
    if current_process().daemon:
        raise InvalidConfiguration(
            'A daemonic process cannot start worker processes. Received: engine="pool" in such a process, as those of '
            'AsyncVectorEnv are. Choose engine="inline", or AsyncVectorEnv(..., daemon=False).'
        )
    plan, main = get_preparation_data(""), sys.modules["__main__"]
    module = plan.get("init_main_from_name", "")  # python -m; a package's __main__ is never imported again
    name = plan.get("init_main_from_path") or (main.__file__ if module and not module.endswith(".__main__") else None)
    if not name:  # a notebook, or `python -c`
        return
    path = Path(name)
    if not path.is_file():
        raise InvalidConfiguration(
            "Each worker process imports the main script, which must be a file. "
            f'Received: {path.name}. Save the script as a file, or choose engine="inline".'
        )
    if _is_running() and not _has_guard(path):
        raise InvalidConfiguration(
            "Each worker process imports the main script, and without a guard would run all of it. Received: "
            f'{path.name}, which has no `if __name__ == "__main__":`. Put what it does under that line, or choose '
            'engine="inline".'
        )


def _is_running() -> bool:
    """Whether the script's own lines are what is being run: after `python -i script.py`, they are not."""
    main, frame = sys.modules["__main__"], sys._current_frames().get(threading.main_thread().ident or 0)
    while frame and (frame.f_code.co_name, frame.f_code.co_filename) != ("<module>", main.__file__):
        frame = frame.f_back
    return frame is not None


def _has_guard(path: Path) -> bool:
    """Whether any condition in the script may be a guard; if in doubt, it is."""
    try:
        tests = [node.test for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.If | ast.IfExp)]
    except (SyntaxError, ValueError, OSError):
        return True
    words = (getattr(node, "id", getattr(node, "attr", "")) for test in tests for node in ast.walk(test))
    return any(word in _GUARDS for word in words)
