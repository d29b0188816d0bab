"""Reading a run: the leaderboard, the front, and the page."""

import json
import re
import runpy
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import legal_deepenings, legal_widenings

from eas_tf.architecture import in_words, space_named
from eas_tf.errors import RunDamaged, exit_code
from eas_tf.report.account import read
from eas_tf.report.charts import across, across_log, short, upward
from eas_tf.report.leaderboard import leaderboard
from eas_tf.report.lineage import lineage
from eas_tf.report.page import duration, page
from eas_tf.runs.ranking import best_so_far, pareto_front, ranked
from eas_tf.runs.record import Batch, Network, Record, Run

SCRIPT = Path(__file__).parents[2] / "scripts" / "report.py"
SPACE = space_named("digits")
START = SPACE.start_network((8, 8, 1), 10)
CONFIG = {"dataset": "digits", "agent": "reinforce", "seed": 0, "space": "digits", "networks": 20, "max_params": None}
VERSIONS = {"python": "3.11.7", "eas_tf": "0.1.0", "tensorflow": "2.21.0"}
ATTACKS = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</title></svg>\x1b[31m\u202e{{ 7*7 }}[/red]")


def network(number, **changes):
    row = Network(
        id=number,
        kind="child" if number else "start",
        stage=1,
        batch=-(-number // 10),
        parent=0 if number else None,
        transformations="wider(0,8)" if number else "",
        seed=number,
        architecture=str(START),
        parameters=START.parameter_count,
        multiply_adds=START.multiply_adds,
        epochs=4,
        accuracy=0.9,
        score=0.9,
        loss=0.3,
        seconds=1.25,
    )
    row = replace(row, **changes)
    return replace(row, score=row.accuracy) if "score" not in changes else row


def grown(number, parent, rng, architecture):
    """A random child of a row with this architecture, and its own architecture."""
    done = []
    for _ in range(2):
        options = legal_deepenings(architecture, SPACE)
        done.append(options[rng.integers(len(options))])
        architecture = done[-1].apply(architecture)
    for step in legal_widenings(architecture, SPACE)[::2]:
        done.append(step)
        architecture = step.apply(architecture)
    accuracy = float(0.94 + 0.03 * rng.random() + 0.004 * np.log(architecture.parameter_count / 3000))
    row = network(
        number,
        parent=parent,
        transformations=" ".join(map(str, done)),
        architecture=str(architecture),
        parameters=architecture.parameter_count,
        multiply_adds=architecture.multiply_adds,
        accuracy=accuracy,
        seconds=float(rng.uniform(1, 3)),
    )
    return row, architecture


def a_search(children=40, seed=0, failing=7):
    """Rows of a search in two stages: some children fail, are reused or stop early, and the best one is promoted."""
    rng = np.random.default_rng(seed)
    rows, architectures = [network(0, accuracy=0.9387, epochs=12)], {0: START}
    parent, stage = 0, 1
    for number in range(1, children + 1):
        if number == children // 2 + 1:
            best = ranked(rows)[0]
            parent, stage = number, 2
            promoted = replace(best, id=number, kind="promoted", parent=best.id, transformations="", epochs=20, batch=0)
            rows.append(replace(promoted, accuracy=best.accuracy + 0.004, score=best.accuracy + 0.004))
            architectures[number] = architectures[best.id]
            continue
        row, architectures[number] = grown(number, parent, rng, architectures[parent])
        if number % failing == 3:
            reason = "TrainingDiverged: the loss is nan" if number % 2 else "the worker was killed by signal 9"
            row = replace(row, accuracy=0.0, score=0.0, loss=None, failure=reason)
        elif number % 11 == 5:
            row = replace(row, stopped=True, accuracy=0.93, score=0.93, curve="[0.5, 0.93]")
        rows.append(replace(row, stage=stage, reused=number % 13 == 6))
    batches = [
        Batch(
            id=number,
            stage=1 + number // 3,
            parent=0,
            size=10,
            reward=10 + number + float(rng.random()),
            learned=json.dumps({"baseline": 10.5 + 0.5 * number, "entropy": 30 - 2.5 * number, "loss": -0.1}),
            state=f"agent-{number}.npz",
            sha256="0" * 64,
        )
        for number in range(1, children // 10 + 1)
    ]
    return rows, batches


def write(folder, rows=(), batches=(), config=None, ended="finished", versions=None, seconds=1.0):
    folder.mkdir(parents=True)
    run = Run(
        config=json.dumps(CONFIG | (config or {})),
        versions=json.dumps(versions or VERSIONS),
        fingerprint="f1n9e4",
        created="2026-05-04 03:02:01",
        ended=ended,
    )
    with closing(Record.create(folder / "run.sqlite", run)) as record:
        for row in (*rows, *batches):
            record.add(row, seconds=seconds)
    return folder


class Parsed(HTMLParser):
    """The text of a page, its tables as rows of cells, and all tags with their attributes."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.tables, self._text, self._open = [], [], [], []
        self.feed(html)
        self.text = re.sub(r"\s+", " ", "".join(self._text))

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        self._open.append(tag)

    def handle_endtag(self, tag):
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data):
        if "style" in self._open:
            return
        self._text.append(data)
        if {"td", "th"} & set(self._open):
            self.tables[-1][-1][-1] += data.strip()

    def table(self, *headings):
        return next(table[1:] for table in self.tables if table[0][: len(headings)] == list(headings))

    def classes(self, name):
        return [attributes for _, attributes in self.tags if name in (attributes.get("class") or "").split()]


def parsed(*folders):
    return Parsed(page([read(folder) for folder in folders]))


@pytest.fixture
def script(tmp_path, monkeypatch, capfd):
    """Runs the script in a folder of its own, within this process: the exit code, and what it printed where."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    main = runpy.run_path(str(SCRIPT))["main"]

    def call(*arguments):
        code = exit_code(lambda: main([str(argument) for argument in arguments]))
        return code, *capfd.readouterr()

    return call


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    rows, batches = a_search()
    return write(tmp_path_factory.mktemp("runs") / "searched", rows, batches, seconds=2.0)


SIZES = st.builds(
    lambda accuracy, parameters, failed: (accuracy / 4, parameters, failed),
    st.integers(0, 4),
    st.integers(1, 5),
    st.booleans(),
)


def beats(one, other):
    """Pareto dominance as a textbook has it; of equals the earlier one."""
    if one.accuracy < other.accuracy or one.parameters > other.parameters:
        return False
    return (one.accuracy, one.parameters) != (other.accuracy, other.parameters) or one.id < other.id


@given(st.lists(SIZES, max_size=12))
def test_the_front_holds_exactly_what_nothing_beats(sizes):
    rows = [network(i, accuracy=a, parameters=p, failure="x" * f) for i, (a, p, f) in enumerate(sizes)]
    front, finished = pareto_front(rows), [row for row in rows if not row.failure]
    expected = [row for row in finished if not any(beats(other, row) for other in finished if other is not row)]
    assert sorted(front, key=lambda row: row.id) == expected
    assert [row.parameters for row in front] == sorted(row.parameters for row in front)


def test_a_front_by_hand():
    """#1 equals the start network in both, #2 is smaller than #3 and as good, #4 failed, #5 is best and largest."""
    sizes = [(0.90, 100), (0.90, 100), (0.95, 200), (0.95, 300), (1.0, 1), (0.96, 900), (0.80, 150)]
    rows = [network(i, accuracy=a, parameters=p, failure="x" * (i == 4)) for i, (a, p) in enumerate(sizes)]
    assert [row.id for row in pareto_front(rows)] == [0, 2, 5]


def test_networks_are_ranked_by_score_then_size_then_number():
    keys = [(0.5, 10), (0.9, 30), (0.9, 20), (0.9, 20), (0.99, 1)]
    rows = [network(i, score=s, parameters=p, failure="x" * (i == 4)) for i, (s, p) in enumerate(keys)]
    assert [row.id for row in ranked(rows)] == [2, 3, 1, 0]
    assert [row.id for row in best_so_far(rows)] == [0, 1, 2, 2]


def printed(table):
    return [[str(cell) for cell in column.cells] for column in table.columns]


def test_the_leaderboard_marks_the_front_and_shows_scores_only_where_size_costs():
    rows = [network(0, parameters=100), network(1, accuracy=0.95, parameters=300), network(2, parameters=200)]
    table = leaderboard(rows)
    assert [column.header for column in table.columns][-2:] == ["front", "layers"]
    assert printed(table)[1] == ["#1", "start", "#2"]
    assert printed(table)[-2] == ["*", "*", ""]
    assert "score %" not in [column.header for column in table.columns]
    priced = leaderboard([rows[0], replace(rows[1], score=0.85)])
    assert "score" in str(priced.title)
    assert [column.header for column in priced.columns][2] == "score %"
    assert printed(priced)[1:4] == [["start", "#1"], ["90.00", "85.00"], ["90.00", "95.00"]]


@pytest.mark.parametrize(
    ("done", "words"),
    [
        ("wider(0,8)", ["widen layer 1 from 4 to 8 filters"]),
        ("wider(4,24)", ["widen layer 5 from 16 to 24 units"]),
        ("deeper(0,1,3)", ["insert a 3x3 convolution after layer 1"]),
        ("deeper(1,0,5)", ["insert a 5x5 convolution after layer 2"]),
        ("deeper(2,1,-)", ["insert a fully connected layer after layer 5"]),
        # The new layer is as wide as the one before it, and moves all later ones by one.
        ("deeper(0,1,3) wider(1,8)", ["insert a 3x3 convolution after layer 1", "widen layer 2 from 4 to 8 filters"]),
        ("deeper(0,1,3) wider(3,12)", ["insert a 3x3 convolution after layer 1", "widen layer 4 from 8 to 12 filters"]),
        (
            "deeper(2,1,-) wider(5,24)",
            ["insert a fully connected layer after layer 5", "widen layer 6 from 16 to 24 units"],
        ),
        # How wide a layer is that is inserted after a feature map depends on the images, which nobody tells.
        ("deeper(2,0,-) wider(4,48)", ["insert a fully connected layer after layer 4", "widen layer 5 to 48 units"]),
        ("<b> wider(0,8)", ["<b>", "wider(0,8)"]),
        ("wider(0,8) wider(99,8)", ["widen layer 1 from 4 to 8 filters", "wider(99,8)"]),
        ("wider(0,2)", ["wider(0,2)"]),
        ("deeper(9,0,3)", ["deeper(9,0,3)"]),
        ("", []),
    ],
)
def test_transformations_in_words(done, words):
    assert in_words(str(START), done) == words


def test_words_agree_with_the_architectures_that_they_tell_of():
    """Of random children, each widening ends at the width that the layer then has."""
    rng = np.random.default_rng(0)
    for number in range(1, 40):
        row, architecture = grown(number, 0, rng, START)
        words = in_words(str(START), row.transformations)
        assert len(words) == len(row.transformations.split())
        last = {}
        for found in filter(None, (re.fullmatch(r"widen layer (\d+) .*to (\d+) \w+", word) for word in words)):
            last[int(found[1])] = int(found[2])
        assert last
        # Widenings come last in an episode: so their layers are those of the child.
        for layer, width in last.items():
            assert str(width) in str(architecture.layers[layer - 1])


def test_a_lineage_goes_from_the_start_network_to_the_best_one():
    rows = [
        network(0, accuracy=0.9, parameters=100),
        network(1, accuracy=0.94, parameters=300),
        network(2, accuracy=0.92, parameters=200),
        network(3, kind="promoted", parent=1, transformations="", epochs=20, accuracy=0.95, parameters=300),
        network(4, parent=3, transformations="wider(2,12)", accuracy=0.97, parameters=350),
    ]
    steps = lineage(rows[4], rows)
    assert [step.network.id for step in steps] == [0, 1, 3, 4]
    assert [step.growth for step in steps] == [0, 200, 0, 50]
    assert [step.gain for step in steps] == pytest.approx([0, 0.04, 0.01, 0.02])
    assert [step.words for step in steps[1:]] == [
        ("widen layer 1 from 4 to 8 filters",),
        ("train it for 20 more epochs",),
        ("widen layer 3 from 8 to 12 filters",),
    ]
    circle = [replace(rows[1], parent=2), replace(rows[2], parent=1)]
    assert [step.network.id for step in lineage(circle[1], circle)] == [1, 2]


def test_the_page_has_the_numbers_of_the_record(searched):
    rows, batches = a_search()
    best, start, found = ranked(rows)[0], rows[0], parsed(searched)
    gain = f"{100 * (best.accuracy - start.accuracy):.2f} percentage points more"
    assert f"Of 40 networks the best is #{best.id}, with {100 * best.accuracy:.2f} % of the validation" in found.text
    assert f"{gain} than the start network's 93.87 %. It has {best.parameters:,} parameters" in found.text
    assert "worked for 90 s, since 2026-05-04 03:02:01. It is finished." in found.text
    failed = [row for row in rows if row.failure]
    stopped, reused = (sum(getattr(row, name) for row in rows) for name in ("stopped", "reused"))
    assert f"{len(failed)} of 40 networks failed, {stopped} were stopped early" in found.text
    assert f"and {reused} were not trained again" in found.text
    assert min(len(failed), stopped, reused) > 1
    by_reason = {reason: [r.id for r in failed if r.failure == reason] for reason in {r.failure for r in failed}}
    assert {tuple(row) for row in found.table("count", "reason")} == {
        (str(len(numbers)), reason, ", ".join(f"#{number}" for number in numbers))
        for reason, numbers in by_reason.items()
    }
    front, leaders = (found.tables[place][1:] for place in (0, 1))
    assert [row[0] for row in front] == [f"#{r.id}" if r.id else "start" for r in pareto_front(rows)]
    assert [row[0] for row in leaders] == [f"#{r.id}" for r in ranked(rows)[:10]]
    assert leaders[0][1:6] == [
        f"{100 * best.accuracy:.2f}",
        f"{100 * (best.accuracy - start.accuracy):+.2f}",
        f"{best.parameters:,}",
        f"{best.multiply_adds:,}",
        f"{best.seconds:.1f}",
    ]
    assert [row[6] for row in leaders] == ["*" if r in pareto_front(rows) else "" for r in ranked(rows)[:10]]
    assert ["networks", "20"] in found.tables[-2]
    assert ["max_params", "null"] in found.tables[-2]
    assert found.tables[-1] == [[name, version] for name, version in VERSIONS.items()]
    assert "f1n9e4" in found.text
    for step in lineage(best, rows):
        assert all(words in found.text for words in step.words)
    assert "train it for 20 more epochs" in found.text
    progress = [attributes["class"].split()[1] for attributes in found.classes("mark")]
    kinds = {"stopped": stopped, "failed": len(failed), "promoted": 1}
    # One more of each in the legend.
    assert {kind: progress.count(kind) for kind in kinds} == {kind: count + 1 for kind, count in kinds.items()}
    assert len(found.classes("border")) == 2
    assert (progress.count("baseline"), progress.count("entropy")) == (len(batches), len(batches))


def test_charts_show_what_they_should():
    """A tick's value is where the tick is; a better network is higher, a larger one further right."""
    x, y = across_log("parameters", [700, 63_000]), upward("accuracy", [93.1, 97.8])
    assert [label for _, label in x.ticks] == ["500", "1000", "2000", "5000", "10k", "20k", "50k", "100k"]
    assert [label for _, label in across_log("parameters", [700, 163_000]).ticks] == ["1000", "10k", "100k"]
    assert x(700) < x(6_300) < x(63_000)
    assert x(6_300) - x(630) == pytest.approx(x(63_000) - x(6_300), abs=0.2)
    assert y(93.1) > y(97.8)
    assert [(at, label) for at, label in y.ticks] == [(y(value), short(value)) for value in (93, 94, 95, 96, 97, 98)]
    for axis in (across("network", [0, 0], whole=True), upward("accuracy", [90, 90]), across_log("p", [678])):
        assert axis.low < axis.high
        assert len(axis.ticks) > 1
    values = (0, 97.65, 1200, 150_000, 1.2e6, 4e9)
    assert list(map(short, values)) == ["0", "97.65", "1200", "150k", "1.2M", "4G"]
    assert [duration(seconds) for seconds in (3.2, 600, 9000)] == ["3 s", "10 min", "2.5 h"]


def test_random_search_does_not_learn_and_a_batch_in_training_has_no_reward_yet(tmp_path):
    rows, batches = a_search()
    random = [replace(batch, learned="{}", reward=12.5) for batch in batches]
    open_batch = Batch(id=len(batches) + 1, stage=2, parent=0, size=10)
    folder = write(
        tmp_path / "random", rows, [*random, open_batch], {"agent": "random", "engine": "surrogate"}, ended=""
    )
    found = parsed(folder)
    assert "No network was trained" in found.text
    assert "random search, does not learn" in found.text
    assert "still running" in found.text
    kinds = [attributes["class"].split()[1] for attributes in found.classes("mark")]
    assert (kinds.count("reward"), kinds.count("entropy")) == (len(batches), 0)


def test_several_runs_are_compared_first(searched, tmp_path):
    rows, batches = a_search(20, seed=1)
    other = write(tmp_path / "other", rows, batches, {"dataset": "mine.npz", "agent": "random", "seed": 7})
    empty = write(tmp_path / "empty", ended="")
    found = parsed(searched, other, empty)
    best, start = ranked(rows)[0].accuracy, rows[0].accuracy
    gain = f"{100 * (best - start):+.2f}"
    table = found.table("run", "data")
    assert table[1] == [str(other), "mine.npz", "random", "7", f"{100 * best:.2f}", gain, "20", "23 s"]
    assert table[2] == [str(empty), "digits", "reinforce", "0", "", "", "0", "0 s"]
    lines = [attributes for attributes in found.classes("run") if "line" in attributes["class"].split()]
    assert len(lines) == 2 * 2  # and the legend
    assert {f"#{attributes['id']}" for tag, attributes in found.tags if tag == "section" and "id" in attributes} == {
        attributes["href"] for tag, attributes in found.tags if tag == "a"
    }


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], "The start network is not trained yet."),
        ([network(0)], "No other network is finished yet."),
        ([network(0), network(1, accuracy=0.0, failure="MemoryError: out of memory")], "The other network failed."),
        ([network(0), network(1, accuracy=0.8)], "The other network did not do better."),
        ([network(0), network(1, accuracy=0.95)], "Of 1 network the best is #1"),
        ([network(0), network(1, accuracy=0.8, score=0.95)], "10.00 percentage points less"),
    ],
)
def test_a_run_that_has_just_begun_or_found_nothing(rows, expected, tmp_path, script):
    folder = write(tmp_path / "run", rows, ended="")
    assert expected in parsed(folder).text
    code, _, err = script(folder)
    assert (code, err) == (0, "")


def hostile(folder):
    rows, batches = a_search(20)
    attack = dict(enumerate(ATTACKS))
    rows = [
        replace(
            row,
            architecture=row.architecture + attack[row.id % 3],
            transformations=f"{row.transformations} {attack[(row.id + 1) % 3].replace(' ', '')}",
            failure=row.failure and attack[(row.id // 3) % 3],
        )
        for row in rows
    ]
    config = {"dataset": ATTACKS[1], "agent": ATTACKS[0], "space": ATTACKS[2], "seed": [ATTACKS[0]], ATTACKS[1]: "x"}
    learned = json.dumps({ATTACKS[0]: 1.0, "entropy": "<b>", "baseline": float("nan")})
    batches = [replace(batch, learned=learned) for batch in batches]
    return write(folder, rows, batches, config, ATTACKS[2], {ATTACKS[0]: ATTACKS[2]})


def test_hostile_records_are_inert(tmp_path, script):
    folder = hostile(tmp_path / "run<img src=x onerror=alert(1)>")
    html = page([read(folder), read(folder)])
    found = Parsed(html)
    tags = {tag for tag, _ in found.tags}
    assert not tags & {"script", "img", "b-", "iframe", "object", "link", "base", "form"}
    assert not [name for _, attributes in found.tags for name in attributes if name.startswith("on")]
    assert all(attack in html.replace("&lt;", "<").replace("&gt;", ">").replace("&#34;", '"') for attack in ATTACKS[:2])
    assert html.count("{{ 7*7 }}") > 20
    assert r"\x1b[31m\u202e{{ 7*7 }}" in found.text
    assert not [c for c in html if not c.isprintable() and c != "\n"]
    # Within pictures too: the titles of failed networks.
    assert re.search(r"<title>#3, child: &[^<]*</title>", html)
    code, out, err = script(folder, "--output", "page.html")
    assert (code, err) == (0, "")
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert "[/red]" in out


def test_a_page_needs_nothing_else_and_is_always_the_same(searched):
    html, found = page([read(searched)]), parsed(searched)
    assert page([read(searched)]) == html
    outside = [
        value
        for _, attributes in found.tags
        for name, value in attributes.items()
        if name in ("src", "href", "xlink:href", "data", "action", "srcset") and not value.startswith("#")
    ]
    assert not outside
    assert not re.search(r"url\(|@import|https?:|//", html)
    identifiers = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in [a for _, a in found.tags]


def test_the_script_prints_a_leaderboard_and_writes_a_page(searched, tmp_path, script):
    code, out, err = script(searched)
    assert (code, err) == (0, "")
    best = ranked(a_search()[0])[0]
    assert f"#{best.id}" in out
    assert best.architecture in out
    assert f"The page is {searched / 'report.html'}" in out
    assert (searched / "report.html").read_text(encoding="utf-8") == page([read(searched)])
    assert script(searched, searched)[0] == 0
    assert (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "Name the run directories"),
        (["nowhere"], 2, "is no run directory"),
        (["."], 2, "is no run directory"),
        (["torn"], 2, "is damaged"),
        (["changed"], 2, "checksum"),
        (["strange"], 2, "no JSON object"),
        (["wordy"], 2, "that no search writes"),
        (["good", "--output", "."], 2, "Name another file with --output"),
        (["good", "--output", "missing/page.html"], 2, "Name another file with --output"),
        (["good", "--output", "/dev/full"], 4, "Name another file with --output"),
        (["good\x1b[31m"], 2, "control characters"),
    ],
)
def test_bad_input_is_one_line(arguments, code, message, tmp_path, script):
    for name in ("good", "torn", "changed", "strange", "wordy"):
        rows = [network(0), network(1, accuracy="<b>" if name == "wordy" else 0.5)]
        write(tmp_path / name, rows)
    torn = tmp_path / "torn" / "run.sqlite"
    torn.write_bytes(torn.read_bytes()[:6_000])
    for name, change in (("changed", {"accuracy": 0.99}), ("strange", {})):
        with closing(Record(tmp_path / name / "run.sqlite", writable=True)) as record:
            if change:
                with record._database:
                    record._database.execute("UPDATE network SET accuracy = 0.99 WHERE id = 1")
            else:
                record.update(config="[]")
    found, _, err = script(*arguments)
    assert found == code
    assert message in err
    assert len(err.splitlines()) == 1
    assert "\x1b" not in err


def test_damage_is_told_by_its_own_error(tmp_path):
    with pytest.raises(RunDamaged, match="no search writes"):
        read(write(tmp_path / "run", [network(0, parameters=0)]))


def test_reading_loads_no_tensorflow(searched):
    program = (
        f"import runpy, sys; sys.argv = ['report.py', {str(searched)!r}]\n"
        f"try:\n    runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
        "except SystemExit as error:\n    assert not error.code\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules), 'loaded'\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
