"""What a search is asked for: what is said, on top of the defaults or of a run that goes on. Imports no TensorFlow."""

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, fields
from pathlib import Path
from shlex import quote
from typing import Any

import tyro

from eas_tf import agents
from eas_tf.architecture import SPACES
from eas_tf.errors import InvalidConfiguration, RunDamaged
from eas_tf.paths import expanded
from eas_tf.runs.directory import check_not_busy
from eas_tf.runs.paths import checked_path
from eas_tf.runs.record import Record, Run, way_to_copy
from eas_tf.search.config import SCHEDULED, ResolvedConfig, SearchConfig, resume_of
from eas_tf.text import printable

#: Options that decide nothing about networks, so that they may change from one process to the next. (Whether it is the
#: same data set, its fingerprint says: a file may have moved.)
FREE = frozenset(
    {
        *("engine", "workers", "workers_per_gpu", "child_seconds", "ray_address", "strategy", "dataset"),
        *("data_dir", "download"),
        *("cache", "hours", "max_hours", "max_networks", "patience", "keep", "dry_run", "output", "resume", "extend"),
    }
)

#: What runs had that were begun before there was an option for it.
_BEFORE = {"metric": "accuracy", "hours": None}


def read_config(argv: Sequence[str] | None) -> SearchConfig:
    """The configuration of a command line; with `resume`, that of the run where the command line says nothing.

    Raises:
        EASError: As `asked_config`.
    """

    def ask(default: SearchConfig) -> SearchConfig:
        return tyro.cli(SearchConfig, args=argv, prog="search.py", default=default)

    return asked_config(ask, resume=resume_of(argv))


def asked_config(ask: Callable[[SearchConfig], SearchConfig], *, resume: str | Path | None) -> SearchConfig:
    """The configuration of a new search, or of a run that goes on.

    Args:
        ask: Gives the configuration that is asked for, from the one that holds where nothing is said. So any value may
            be said, also one that is the default of new searches.
        resume: The directory of the run.

    Raises:
        InvalidConfiguration: If there is no run to go on with, it is finished, or an option contradicts it.
        RunBusy: If another process works on it.
        RunDamaged: If its record is not as it was written.
        StorageFailed: If another program keeps its record locked, or it cannot be read.
    """
    if resume is None:
        default = SearchConfig()
        asked = ask(default)
    else:
        path = expanded(resume)
        checked_path(path)
        run = _run(path)
        default = _recorded(path, run.config)
        asked = ask(default)
        _check(asked, default, run)
    if asked.cache is not None:
        checked_path(asked.cache)
    if asked.stages is not None and asked.networks not in (default.networks, sum(asked.stage_sizes)):
        raise InvalidConfiguration(
            f"`networks` is for searches of one stage: leave out `networks` {asked.networks}, or `stages` "
            f"{asked.stages}."
        )
    return asked


def _check(asked: SearchConfig, recorded: SearchConfig, run: Run) -> None:
    """Refuse to go on with a run that is finished, or as another search."""
    if asked.output != recorded.output:
        raise InvalidConfiguration(f"`resume` goes on in {asked.resume}; leave `output` {asked.output} out.")
    _check_same(asked, recorded)
    if asked.stage_sizes == recorded.stage_sizes and run.ended == "finished":
        raise InvalidConfiguration(
            f"{asked.resume} is finished. To add to it: `resume` {quote(str(asked.resume))} with `extend`, and a "
            "larger `networks` or longer `stages`."
        )


def _run(path: Path) -> Run:
    if not (path / "run.sqlite").exists() and (path / "run.copy.sqlite").is_file():
        raise RunDamaged(f"{path} has lost its run.sqlite. {way_to_copy(path / 'run.sqlite')}")
    if not (path / "run.sqlite").is_file():
        what = "is empty" if path.is_dir() and not any(path.iterdir()) else "holds no run.sqlite"
        raise InvalidConfiguration(
            f"`resume` takes the directory of an earlier search. {path} {what if path.exists() else 'is not there'}."
        )
    check_not_busy(path)
    with closing(Record(path / "run.sqlite")) as record:
        return record.run()


def _recorded(path: Path, text: str) -> SearchConfig:
    try:
        told: dict[str, Any] = _BEFORE | json.loads(text)
        kept = {field.name for field in fields(ResolvedConfig)}
        if set(told) != kept:
            raise InvalidConfiguration(f"other options: {', '.join(sorted(set(told) ^ kept))}")
        unknown = [name for name, known in (("agent", agents.AGENTS), ("space", SPACES)) if told[name] not in known]
        if told["hours"] is not None:
            told = {name: value for name, value in told.items() if name not in SCHEDULED}
        if not unknown:
            return SearchConfig(**{**told, "output": path, "resume": path, "extend": False})
    except (TypeError, ValueError, InvalidConfiguration) as error:
        raise InvalidConfiguration(f"{path} was written by another version of eas_tf: {error}") from error
    raise InvalidConfiguration(
        f"{path} has the {unknown[0]} {printable(told[unknown[0]])!r}, which is not registered here: go on from a "
        "script that registers it and then calls eas_tf.search.run(resume=...)."
    )


def _check_same(asked: SearchConfig, recorded: SearchConfig) -> None:
    """Refuse options that would make it another search.

    Raises:
        InvalidConfiguration: Naming them.
    """
    free = FREE | {"networks", "stages"} if asked.extend else FREE
    if asked.extend and len(recorded.stage_sizes) == 1:  # What happens between stages, before there were any.
        free |= {"promote_epochs", "controller"}
    if asked.stages is not None and asked.stages == recorded.stages and asked.networks != recorded.networks:
        raise InvalidConfiguration(
            f"{asked.resume} has `stages` {recorded.stages}: add to it by longer `stages`, not by `networks`."
        )
    before, now = asdict(recorded), asdict(asked)
    changed = [name for name in before if name not in free and before[name] != now[name]]
    if "surrogate" in (asked.engine, recorded.engine) and asked.engine != recorded.engine:
        changed.append("engine")
    if changed:
        told = ", ".join(f"`{name}` {now[name]} (it has {before[name]})" for name in changed)
        more = " (`extend` adds networks.)" if {"networks", "stages"} & set(changed) else ""
        raise InvalidConfiguration(
            f"{asked.resume} cannot go on with {told}: leave {'it' if len(changed) == 1 else 'them'} out, or begin a "
            f"new run.{more}"
        )
    if asked.extend:
        _check_longer(asked, recorded)


def _check_longer(asked: SearchConfig, recorded: SearchConfig) -> None:
    old, new = recorded.stage_sizes, asked.stage_sizes
    last = len(old) - 1
    if new[:last] != old[:last] or len(new) < len(old) or new[last] < old[last] or new == old:
        raise InvalidConfiguration(
            f"`extend` adds networks to the last stage, or further stages, with `networks` or `stages`. The run has "
            f"{','.join(map(str, old))}. Received: {','.join(map(str, new))}"
        )
