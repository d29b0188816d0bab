"""The tutorial runs, and prints what it says it prints, up to what a training run's digits may be."""

import contextlib
import io
import re
from pathlib import Path

import pytest

TUTORIAL = Path(__file__).parents[1] / "docs" / "surgery.md"
_BLOCK = re.compile(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", re.DOTALL)
#: Accuracies, differences: what another machine may round, or train, otherwise.
_MEASURED = re.compile(r"\d+\.\d%|\d+e[-+]\d+")


def blocks():
    return _BLOCK.findall(TUTORIAL.read_text(encoding="utf-8"))


@pytest.mark.timeout(300)
def test_the_tutorial_prints_what_it_says():
    names = {"__name__": "__main__"}
    assert len(blocks()) == 8
    for source, expected in blocks():
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(source, str(TUTORIAL), "exec"), names)
        assert _MEASURED.sub("#", printed.getvalue()) == _MEASURED.sub("#", expected)
    assert names["before"] > 0.9
    assert names["after"] > names["before"]
    assert names["after_surgery"] == pytest.approx(names["before"], abs=0.003)


def test_every_difference_in_the_tutorial_is_small():
    differences = [float(text) for _, expected in blocks() for text in re.findall(r"differ by (\S+)", expected)]
    assert len(differences) == 3
    assert max(differences) <= 1e-5
