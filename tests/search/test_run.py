"""Searches from Python, without a command line."""

import numpy as np
import pytest

from eas_tf.data import load
from eas_tf.errors import InvalidConfiguration
from eas_tf.search import SearchConfig, run

QUICK = {"networks": 3, "epochs": 1, "start_epochs": 1, "engine": "inline"}


def test_a_search_returns_what_it_has_found_and_its_model_works(tmp_path):
    found = run(SearchConfig(**QUICK, output=tmp_path / "run"))
    assert found.directory == tmp_path / "run"
    assert [network.id for network in found.networks] == [0, 1, 2, 3]
    assert found.best.accuracy == max(network.accuracy for network in found.networks)
    images = load("digits")
    classes = np.argmax(found.model().predict(images.x_val, verbose=0), axis=-1)
    assert (classes == images.y_val).mean() == pytest.approx(found.best.accuracy)


def test_what_was_ended_goes_on_to_the_same_end(tmp_path):
    """Settings that are left at their defaults are those of the run."""
    settings = {"engine": "surrogate", "networks": 25, "agent": "evolution", "deepen_steps": 3, "seed": 5}
    whole = run(SearchConfig(**settings, output=tmp_path / "whole"))
    first = run(SearchConfig(**settings, max_networks=13, output=tmp_path / "parts"))
    assert len(first.networks) == 14
    parts = run(SearchConfig(resume=tmp_path / "parts", max_networks=100, engine="surrogate"))
    assert parts.networks == whole.networks
    with pytest.raises(InvalidConfiguration, match="is finished"):
        run(SearchConfig(resume=tmp_path / "parts"))
    more = run(SearchConfig(resume=tmp_path / "parts", extend=True, networks=30, engine="surrogate"))
    assert len(more.networks) == 31


def test_what_does_not_fit_is_refused_as_python_names_it(tmp_path):
    with pytest.raises(InvalidConfiguration, match="`dry_run` is for the command line"):
        run(SearchConfig(dry_run=True))
    with pytest.raises(InvalidConfiguration, match="`resume` takes the directory"):
        run(SearchConfig(resume=tmp_path / "nothing"))
    with pytest.raises(InvalidConfiguration, match=r"`agent` is one of reinforce, random, evolution. .*Did you mean"):
        SearchConfig(agent="evolutoin")
    with pytest.raises(InvalidConfiguration, match=r"`engine` is one of pool, inline, ray, surrogate. Received: 'foo'"):
        SearchConfig(engine="foo")


def test_nothing_is_loaded_that_is_not_used(tmp_path, monkeypatch):
    """A closed form needs no images, so that a data set need not be there."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    found = run(SearchConfig(dataset="cifar10", engine="surrogate", networks=3, output=tmp_path / "run"))
    assert len(found.networks) == 4
    with pytest.raises(InvalidConfiguration, match="came from a closed form"):
        found.model()
