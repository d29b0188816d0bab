"""Searches from Python, without a command line."""

import subprocess
import sys

import numpy as np
import pytest
import searching

from eas_tf.data import load
from eas_tf.errors import InvalidConfiguration
from eas_tf.search import SearchConfig, run
from eas_tf.search.resuming import read_config

QUICK = {"networks": 3, "epochs": 1, "start_epochs": 1, "engine": "inline"}


def test_a_search_returns_what_it_has_found_and_its_model_works(tmp_path):
    found = run(SearchConfig(**QUICK, output=tmp_path / "run"))
    assert found.directory == tmp_path / "run"
    assert [network.id for network in found.networks] == [0, 1, 2, 3]
    assert found.best.accuracy == max(network.accuracy for network in found.networks)
    images = load("digits")
    classes = np.argmax(found.model().predict(images.x_val, verbose=0), axis=-1)
    assert (classes == images.y_val).mean() == pytest.approx(found.best.accuracy)


@pytest.mark.slow
def test_a_search_from_python_is_the_one_of_the_script(tmp_path):
    options = {"networks": 1, "epochs": 1, "start_epochs": 1, "agent": "random", "engine": "inline"}
    text = f"from eas_tf.search import run; run({options}, output={str(tmp_path / 'python')!r})".replace("({", "(**{")
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=200, check=True)
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    out, _ = searching.run(*flags, "--output", str(tmp_path / "script"))
    assert searching.digest(done.stdout) == searching.digest(out)


def test_what_was_ended_goes_on_to_the_same_end(tmp_path):
    """Settings that are left at their defaults are those of the run."""
    settings = {"engine": "surrogate", "networks": 25, "agent": "evolution", "deepen_steps": 3, "seed": 5}
    whole = run(SearchConfig(**settings, output=tmp_path / "whole"))
    first = run(SearchConfig(**settings, max_networks=13, output=tmp_path / "parts"))
    assert len(first.networks) == 14
    parts = run(resume=tmp_path / "parts", max_networks=None)
    assert parts.networks == whole.networks
    with pytest.raises(InvalidConfiguration, match="is finished"):
        run(resume=tmp_path / "parts")
    more = run(resume=str(tmp_path / "parts"), extend=True, networks=SearchConfig.networks)
    assert len(more.networks) == 1 + SearchConfig.networks


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A run none of whose options is as by default."""
    folder = tmp_path_factory.mktemp("other") / "run"
    options = {"agent": "evolution", "seed": 5, "deepen_steps": 3, "price_parameters": 0.07, "restart_every": 2}
    return run(engine="surrogate", networks=25, max_networks=13, output=folder, **options).directory


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 0}, r"cannot go on with `seed` 0 \(it has 5\): leave it out, or begin a new run\.$"),
        ({"agent": "reinforce"}, r"with `agent` reinforce \(it has evolution\): leave it"),
        ({"engine": "pool"}, r"with `engine` pool \(it has surrogate\): leave it"),
        (
            {"deepen_steps": 5, "price_parameters": 0.0},
            r"`deepen_steps` 5 \(it has 3\), .* 0.0 \(it has 0.07\): leave them",
        ),
        ({"networks": 40}, r"`networks` 40 \(it has 25\): .* \(`extend` adds networks\.\)$"),
        ({"extend": True, "networks": 24}, "`extend` adds networks .* The run has 25. Received: 24"),
        ({"extend": True, "networks": 9, "stages": (25, 3)}, "leave out `networks` 9, or `stages` 25,3"),
        ({"output": None}, "leave `output` None out"),
        ({"networks": 2.5}, "`networks` must be a whole number. Received: 2.5"),
    ],
)
def test_what_a_run_cannot_become_is_named_also_if_it_is_the_default_of_new_searches(other, options, message):
    with pytest.raises(InvalidConfiguration, match=message):
        run(resume=other, **options)


def test_what_is_said_on_the_command_line_is_checked_on_top_of_the_run(tmp_path):
    """Mirrored training needs the engine inline, which the run has."""
    inline = run(**QUICK, max_networks=1, output=tmp_path / "run").directory
    config = read_config(["--resume", str(inline), "--strategy", "mirrored"])
    assert (config.engine, config.strategy) == ("inline", "mirrored")


def test_a_whole_configuration_is_for_new_searches_only(other):
    for call in (lambda: run(SearchConfig(resume=other)), lambda: run(SearchConfig(seed=0), resume=other)):
        with pytest.raises(
            InvalidConfiguration, match=r"call run\(resume=\.\.\.\), with the options that shall change"
        ):
            call()


def test_stages_and_networks_contradict_each_other():
    with pytest.raises(InvalidConfiguration, match="leave out `networks` 9, or `stages` 20,13"):
        run(SearchConfig(stages=[20, 13], networks=9))


def test_what_does_not_fit_is_refused_as_python_names_it(tmp_path):
    with pytest.raises(InvalidConfiguration, match="`dry_run` is for the command line"):
        run(dry_run=True)
    with pytest.raises(InvalidConfiguration, match="`resume` takes the directory"):
        run(resume=tmp_path / "nothing")
    with pytest.raises(InvalidConfiguration, match=r"`agent` is one of reinforce, random, evolution. .*Did you mean"):
        SearchConfig(agent="evolutoin")
    with pytest.raises(InvalidConfiguration, match=r"`engine` must be .*\"surrogate\".*Received: 'foo'"):
        SearchConfig(engine="foo")


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (["r1"], {}, r"^run\(SearchConfig\(\.\.\.\)\) or .* run\(resume=\.\.\.\) goes on .* Received: 'r1'$"),
        ([{"networks": 3}], {}, r"Received: \{'networks': 3\}$"),
        ([SearchConfig], {}, r"Received: <class [^\n]+$"),
        ([], {"progress": 5}, r"^`progress` is a Progress or None\. Received: 5$"),
        ([], {"netwroks": 3}, r"^A search has no option `netwroks`\. Did you mean `networks`\?$"),
        ([], {"resume": ""}, r"^`resume` must be a path or None\. Received: ''$"),
        ([], {"output": ""}, r"^`output` must be a path or None\. Received: ''$"),
    ],
)
def test_what_is_no_search_is_refused_before_anything_is_written(arguments, options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidConfiguration, match=message):
        run(*arguments, **{} if arguments else {"engine": "surrogate", "networks": 3}, **options)
    assert not list(tmp_path.iterdir())


def test_nothing_is_loaded_that_is_not_used(tmp_path, monkeypatch):
    """A closed form needs no images, so that a data set need not be there."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    found = run(SearchConfig(dataset="cifar10", engine="surrogate", networks=3, output=tmp_path / "run"))
    assert len(found.networks) == 4
    with pytest.raises(InvalidConfiguration, match="came from a closed form"):
        found.model()
