"""All code that readers are shown runs, and prints what it says it prints, up to what a training run's digits may be.

The Python blocks of a page run in order, in one namespace. One that would take too long says why in the line before
it, `<!-- not run: reason -->`, and is compiled only.
"""

import contextlib
import doctest
import functools
import importlib
import io
import re
import tempfile
from pathlib import Path

import pytest

from eas_tf.agents import AGENTS
from eas_tf.architecture import SPACES, moves, registry
from eas_tf.evaluation import EVALUATORS

ROOT = Path(__file__).parents[1]
README, TUTORIAL = ROOT / "README.md", ROOT / "docs" / "surgery.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SOURCES = [path.relative_to(ROOT) for room in ("eas_tf", "envs", "agents") for path in (ROOT / room).rglob("*.py")]
_BLOCK = re.compile(
    r"(?P<mark><!-- not run:(?P<reason>[^>]*)-->\n)?^```(?P<language>.*?)\n(?P<source>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
#: Accuracies, differences: what another machine may round, or train, otherwise.
_MEASURED = re.compile(r"\d+\.\d%|\d+e[-+]\d+")


@contextlib.contextmanager
def nothing_registered():
    """What a page makes known by name is forgotten, as at the end of its process."""
    registries = SPACES, registry._READERS, moves.MOVES, EVALUATORS, AGENTS
    before = [dict(each) for each in registries]
    yield
    for each, kept in zip(registries, before, strict=True):
        each.clear()
        each.update(kept)


@functools.cache
def run(page):
    """Run the blocks of a page in a temporary directory, and compare what they print with the text blocks behind them.

    Returns:
        The names that they leave, and all that they printed.
    """
    text, names, everything = page.read_text(encoding="utf-8"), {"__name__": "__main__"}, ""
    printed = None  # by the block before, if it was run
    with tempfile.TemporaryDirectory() as empty, contextlib.chdir(empty), nothing_registered():
        for block in _BLOCK.finditer(text):
            if block["language"] == "text" and printed is not None:
                assert _MEASURED.sub("#", printed) == _MEASURED.sub("#", block["source"])
            printed = None
            if block["language"] == "python":
                lines_before = "\n" * text.count("\n", 0, block.start("source"))  # so that an error names its line
                code = compile(lines_before + block["source"], str(page), "exec")
                if block["mark"]:
                    assert block["reason"].strip()
                    continue
                with contextlib.redirect_stdout(io.StringIO()) as output:
                    exec(code, names)
                printed = output.getvalue()
                everything += printed
    return names, everything


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_blocks_of_a_page_run(page):
    run(page)
    found = [block["language"] for block in _BLOCK.finditer(page.read_text(encoding="utf-8"))]
    assert set(found) <= {"python", "sh", "text"}  # One without a language might hold Python that nobody runs.
    assert 2 * len(found) == page.read_text(encoding="utf-8").count("```")


def test_the_tutorial_trains_and_keeps_what_it_knows():
    names, _ = run(TUTORIAL)
    assert names["before"] > 0.9
    assert names["after"] > names["before"]
    assert names["after_surgery"] == pytest.approx(names["before"], abs=0.003)


@pytest.mark.parametrize(("page", "count"), [(README, 1), (TUTORIAL, 3)], ids=["README", "tutorial"])
def test_every_difference_is_small(page, count):
    differences = [float(text) for text in re.findall(r"differ by (\S+)", run(page)[1])]
    assert len(differences) == count
    assert max(differences) <= 1e-5


@pytest.mark.parametrize(
    ("page", "error"),
    [
        ("```python\nx = 1\n```\n\n```python\ny = x\n```\n", None),
        ("```python\nx = 1\n```\n\n```python\ny = z\n```\n", NameError),
        ("```python\nprint(1)\n```\n\n```text\n1\n```\n", None),
        ("```python\nprint(1)\n```\n\n```text\n2\n```\n", AssertionError),
        ("<!-- not run: takes hours -->\n```python\n1 / 0\n```\n", None),
        ("<!-- not run: takes hours -->\n```python\nprint(1)\n```\n\n```text\n2\n```\n", None),
        ("<!-- not run: -->\n```python\n1 / 0\n```\n", AssertionError),
        ("<!-- not run: takes hours -->\n```python\n1 /\n```\n", SyntaxError),
        ("takes hours\n```python\n1 / 0\n```\n", ZeroDivisionError),
    ],
)
def test_what_is_wrong_on_a_page_is_noticed(page, error, tmp_path):
    (tmp_path / "page.md").write_text(page, encoding="utf-8")
    with pytest.raises(error) if error else contextlib.nullcontext():
        run(tmp_path / "page.md")


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if ">>> " in (ROOT / path).read_text(encoding="utf-8")], ids=str
)
def test_the_examples_of_a_module_run(path):
    parts = [part for part in path.with_suffix("").parts if part != "__init__"]
    module = importlib.import_module(".".join(parts if parts[0] == "eas_tf" else ["eas_tf", *parts]))
    results = doctest.testmod(module)
    assert results.attempted > 0
    assert results.failed == 0
