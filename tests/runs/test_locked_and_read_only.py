"""A record that is locked, may not be written, or whose disk fails: each is told from damage, and nothing is lost."""

import errno
import io
import os
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from obstacles import forbid, locked
from rich.console import Console

from eas_tf.errors import EASError, InvalidConfiguration, RunDamaged, StorageFailed
from eas_tf.report.account import read
from eas_tf.report.page import page
from eas_tf.runs.directory import storing
from eas_tf.runs.progress import Progress
from eas_tf.runs.record import VERSION, Network, Record, Run
from eas_tf.search.driver import search
from eas_tf.search.plan import Plan
from eas_tf.search.resuming import read_config

SCRIPTS = Path(__file__).parents[2] / "scripts"
WAIT = "Waiting for another program to unlock"
RUN = Run(config="{}", versions="{}", fingerprint="", created="")
ROW = Network(
    id=0, kind="child", stage=1, batch=1, parent=0, transformations="", seed=0, architecture="SM(10)", parameters=1,
    multiply_adds=1, epochs=1, accuracy=0.5, score=0.5, loss=None, seconds=1.0,
)  # fmt: skip
#: A writer that is killed when half of a change is in the file, and the other half in the journal.
KILLED = """
import os, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA cache_size=1")
database.execute("BEGIN")
database.execute("UPDATE network SET accuracy = 0.0, curve = hex(zeroblob(3000))")
os._exit(9)
"""


def here(*arguments):
    printed = io.StringIO()
    plan = Plan.of(read_config(arguments))
    search(plan, Progress(plan.networks, Console(file=printed)))
    return digest(printed.getvalue())


def resumed(run):
    return here("--resume", str(run), "--max-networks", "99")


def digest(out):
    (line,) = re.findall("decisions and results: .*", out)
    return line


def script(name, *arguments, cwd=None, prefix=(), **environment):
    return subprocess.run(
        [*prefix, sys.executable, SCRIPTS / name, *map(str, arguments)],
        capture_output=True, text=True, timeout=100, check=False, cwd=cwd, env={**os.environ, **environment},
    )  # fmt: skip


def error(result, code=4):
    (line,) = result.stderr.splitlines()
    assert result.returncode == code, line
    return line


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A search that is not at its end, and the digest at its end."""
    folder = tmp_path_factory.mktemp("searched")
    options = "--engine", "surrogate", "--agent", "random", "--stages", "20,10"
    whole = here(*options, "--output", str(folder / "whole"))
    here(*options, "--max-networks", "14", "--output", str(folder / "run"))
    return folder / "run", whole


@pytest.fixture
def run(searched, tmp_path):
    shutil.copytree(searched[0], tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("how", ["IMMEDIATE", "EXCLUSIVE", "DEFERRED"])
@pytest.mark.parametrize(
    "seconds", [1, pytest.param(12, marks=pytest.mark.slow), pytest.param(60, marks=pytest.mark.slow)]
)
def test_a_search_waits_for_another_programs_lock(run, searched, capfd, how, seconds):
    with locked(run / "run.sqlite", seconds, how):
        start = time.monotonic()
        assert resumed(run) == searched[1]
        assert time.monotonic() - start > seconds - 1
    told = [line for line in capfd.readouterr().err.splitlines() if WAIT in line]
    assert len(told) == (seconds > 3)
    assert all(str(run / "run.sqlite") in line for line in told)


@pytest.mark.parametrize(
    "seconds", [1, pytest.param(12, marks=pytest.mark.slow), pytest.param(60, marks=pytest.mark.slow)]
)
def test_a_search_waits_at_each_of_its_steps(tmp_path, searched, seconds):
    """Locked again and again, so also when a network, a batch and the copy are written."""
    options = "--engine", "surrogate", "--agent", "random", "--stages", "20,10", "--output", tmp_path / "run"
    command = [sys.executable, SCRIPTS / "search.py", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        record, times = tmp_path / "run" / "run.sqlite", 0
        while process.poll() is None and times < (6 if seconds == 1 else 1):
            if record.exists() and (times or len(rows(record)) > 4):
                with locked(record, 600, "EXCLUSIVE"):
                    time.sleep(0.2 if seconds == 1 else seconds)
                times += 1
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert digest(out) == searched[1]
    assert times


@pytest.mark.slow
@pytest.mark.parametrize("again", [0, 1])
def test_ctrl_c_in_the_middle_of_a_search_that_waits(tmp_path, searched, again):
    """The first waits on, so that no child is lost; the second ends at once, and what was finished is kept."""
    options = "--engine", "surrogate", "--agent", "random", "--stages", "20,10", "--output", tmp_path / "run"
    command = [sys.executable, SCRIPTS / "search.py", *options]
    record = tmp_path / "run" / "run.sqlite"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while not (record.exists() and len(rows(record)) > 4):
            assert process.poll() is None
        with locked(record, 600):
            assert WAIT in process.stderr.readline()
            process.send_signal(signal.SIGINT)
            assert "Finishing the children" in process.stderr.readline()
            if again:
                process.send_signal(signal.SIGINT)
                process.wait(timeout=20)
        said = "Ended at once." if again else "Interrupted."
        assert f"{said} What was finished is kept." in process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert resumed(tmp_path / "run") == searched[1]


def rows(path):
    with closing(Record(path)) as record:
        return record.networks()


@pytest.mark.parametrize("how", ["IMMEDIATE", "EXCLUSIVE"])
def test_what_stays_locked_is_told_so_and_not_called_damaged(run, searched, monkeypatch, how):
    monkeypatch.setattr("eas_tf.storing.PATIENCE", 0.5)
    with (
        locked(run / "run.sqlite", 600, how),
        pytest.raises(StorageFailed, match="is locked by another program") as told,
    ):
        here("--resume", str(run))
    assert "Close that program" in str(told.value)
    assert "--resume" in str(told.value)
    assert not re.search("damaged|delete|move|room", str(told.value))
    assert resumed(run) == searched[1]


def test_a_locked_record_is_not_waited_for_without_end_when_it_is_copied(tmp_path, monkeypatch):
    monkeypatch.setattr("eas_tf.storing.PATIENCE", 0.5)
    with closing(Record.create(tmp_path / "run.sqlite", RUN)) as record:
        with locked(tmp_path / "run.sqlite", 30, "EXCLUSIVE"):
            start = time.monotonic()
            with pytest.raises(StorageFailed, match=r"run\.sqlite is locked by another program"):
                record.copy_to(tmp_path / "run.copy.sqlite")
        assert time.monotonic() - start < 10
        record.copy_to(tmp_path / "run.copy.sqlite")
    assert rows(tmp_path / "run.copy.sqlite") == []


@pytest.mark.parametrize("name", ["search.py", "report.py"])
def test_ctrl_c_ends_the_waiting(run, name):
    arguments = ["--resume", run] if name == "search.py" else [run]
    with locked(run / "run.sqlite", 600, "EXCLUSIVE"):
        command = [sys.executable, SCRIPTS / name, *arguments]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert WAIT in process.stderr.readline()
            process.send_signal(signal.SIGINT)
            start = time.monotonic()
            assert process.communicate(timeout=60)[1] == "Interrupted.\n"
    assert process.returncode == 130
    assert time.monotonic() - start < 5


def test_a_reader_waits_until_it_may_read(run, tmp_path):
    with locked(run / "run.sqlite", 1.5, "EXCLUSIVE"):
        result = script("report.py", run, "--output", tmp_path / "page.html")
    assert (result.returncode, result.stderr) == (0, "")


def test_no_files_are_kept_beside_a_record(run):
    assert not [path.name for path in run.iterdir() if "sqlite-" in path.name]
    for name in ("run.sqlite", "run.copy.sqlite"):
        assert (run / name).read_bytes()[18:20] == b"\1\1"


def with_log(run):
    """As earlier versions left it: with a write-ahead log."""
    database = sqlite3.connect(run / "run.sqlite")
    database.execute("PRAGMA journal_mode=WAL")
    return database


def test_a_run_with_a_write_ahead_log_goes_on_without_one(run, searched):
    with_log(run).close()
    assert resumed(run) == searched[1]
    test_no_files_are_kept_beside_a_record(run)


def test_a_run_goes_on_with_its_log_while_somebody_else_has_it_open(run, searched):
    with closing(with_log(run)) as other:
        other.execute("SELECT * FROM run").fetchall()
        assert resumed(run) == searched[1]


# What may be read but not written.


def leave_log(run, *, shared=True, empty=False):
    """As if an earlier version had been killed."""
    with closing(with_log(run)) as database:
        database.execute(f"PRAGMA user_version = {VERSION}")
        database.commit()
        if empty:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copytree(run, run.with_name("killed"))
    shutil.rmtree(run)
    run.with_name("killed").rename(run)
    if not shared:
        (run / "run.sqlite-shm").unlink()


def kill_writer(run):
    subprocess.run([sys.executable, "-c", KILLED, run / "run.sqlite"], check=False)
    assert (run / "run.sqlite-journal").stat().st_size > 512


STATES = {
    "as it is": lambda _: None,
    "log": lambda run: with_log(run).close(),
    "log of a killed search": leave_log,
    "empty log of a killed search": lambda run: leave_log(run, empty=True),
    "empty log, no shared memory": lambda run: leave_log(run, empty=True, shared=False),
}
UNFINISHED = {"journal": kill_writer, "log without shared memory": lambda run: leave_log(run, shared=False)}


@pytest.fixture
def freeze():
    """Makes a directory one that nobody can write."""
    places = []

    def frozen(place):
        for options in (["--bind", place, place], ["-o", "remount,ro,bind", place]):
            done = (
                subprocess.run(["mount", *options], capture_output=True, check=False) if shutil.which("mount") else None
            )
            if not done or done.returncode:
                pytest.skip("this user cannot mount a file system")
            places.append(place)

    yield frozen
    for place in places[:1]:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture(params=["read-only disk", "no right to write"])
def bar(request, freeze):
    """Bars a directory from being written; what a command needs before it."""

    def barred(place):
        if request.param == "no right to write":
            return forbid(place)
        freeze(place)
        return []

    return barred


@pytest.mark.parametrize("state", STATES)
def test_a_run_that_may_only_be_read_is_reported(run, bar, tmp_path, state):
    expected = page([read(run)])
    STATES[state](run)
    before = sorted(path.name for path in run.iterdir())
    result = script("report.py", run, "--output", tmp_path / "page.html", prefix=bar(run))
    assert (result.returncode, result.stderr) == (0, "")
    assert (tmp_path / "page.html").read_text() == expected
    assert sorted(path.name for path in run.iterdir()) == before


def test_the_page_of_a_run_that_may_only_be_read_goes_elsewhere(run, bar):
    told = error(script("report.py", run, prefix=bar(run)), code=2)
    assert re.search(r"report\.html cannot be written: .*Name another file with --output\.", told)


@pytest.mark.parametrize("state", UNFINISHED)
def test_an_unfinished_change_that_cannot_be_undone_is_told_so(run, bar, tmp_path, state):
    UNFINISHED[state](run)
    told = error(script("report.py", run, "--output", tmp_path / "page.html", prefix=bar(run)))
    assert "Copy the whole directory to where you can write" in told
    assert not re.search("damaged|delete|room", told)
    shutil.copytree(run, tmp_path / "copy")  # the advice holds
    for path in (tmp_path / "copy", *(tmp_path / "copy").iterdir()):
        path.chmod(0o755)
    assert script("report.py", tmp_path / "copy").returncode == 0


def test_an_unfinished_change_is_undone_by_whoever_may_write(run, searched):
    expected = rows(run / "run.sqlite")
    kill_writer(run)
    assert rows(run / "run.sqlite") == expected
    kill_writer(run)
    assert resumed(run) == searched[1]


def test_a_run_on_a_read_only_disk_is_not_searched_on(run, freeze):
    freeze(run)
    with pytest.raises(StorageFailed, match=r"cannot be written: Read-only file system\. Continue in a copy"):
        resumed(run)


def test_a_record_that_may_not_be_read_is_told_so(run):
    prefix = forbid(run)
    (run / "run.sqlite").chmod(0)
    told = error(script("report.py", run, "--output", "/dev/null", prefix=prefix))
    assert "run.sqlite cannot be read: Permission denied. Read it as its owner" in told


def test_a_record_that_may_not_be_written_is_told_so(run):
    prefix = forbid(run)
    run.chmod(0o755)
    (run / "lock").chmod(0o644)
    told = error(script("search.py", "--resume", run, prefix=prefix))
    assert "run.sqlite cannot be written: Permission denied. Continue as the owner" in told


# What the system says, and what SQLite says.

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
static int fails(int fd, const char *what) {
    const char *asked = getenv("SHIM"), *place = getenv("SHIM_IN");
    char link[64], name[4096];
    ssize_t length;
    if (!asked || strncmp(asked, what, strlen(what))) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if ((length = readlink(link, name, sizeof name - 1)) < 0) return 0;
    name[length] = 0;
    if (!strstr(name, place)) return 0;
    errno = atoi(strchr(asked, '=') + 1);
    return 1;
}
#define FCNTL(NAME) int NAME(int fd, int command, ...) { \
    va_list more; va_start(more, command); void *argument = va_arg(more, void *); va_end(more); \
    static int (*real)(int, int, ...); if (!real) real = dlsym(RTLD_NEXT, #NAME); \
    if ((command == F_SETLK || command == F_SETLKW || command == F_GETLK) && fails(fd, "lock")) return -1; \
    return real(fd, command, argument); }
FCNTL(fcntl) FCNTL(fcntl64)
#define LOCKF(NAME, OFF) int NAME(int fd, int command, OFF size) { \
    static int (*real)(int, int, OFF); if (!real) real = dlsym(RTLD_NEXT, #NAME); \
    return fails(fd, "lock") ? -1 : real(fd, command, size); }
LOCKF(lockf, off_t) LOCKF(lockf64, off64_t)
int flock(int fd, int command) {
    static int (*real)(int, int); if (!real) real = dlsym(RTLD_NEXT, "flock");
    return fails(fd, "lock") ? -1 : real(fd, command); }
ssize_t write(int fd, const void *from, size_t size) {
    static ssize_t (*real)(int, const void *, size_t); if (!real) real = dlsym(RTLD_NEXT, "write");
    return fails(fd, "write") ? -1 : real(fd, from, size); }
#define PWRITE(NAME, OFF) ssize_t NAME(int fd, const void *from, size_t size, OFF at) { \
    static ssize_t (*real)(int, const void *, size_t, OFF); if (!real) real = dlsym(RTLD_NEXT, #NAME); \
    return fails(fd, "write") ? -1 : real(fd, from, size, at); }
PWRITE(pwrite, off_t) PWRITE(pwrite64, off64_t)
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    """The environment of a process in which locks or writes fail in some place."""
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(SHIM)
    command = ["cc", "-shared", "-fPIC", "-o", folder / "shim.so", folder / "shim.c", "-ldl"]
    if not shutil.which("cc") or not sys.platform.startswith("linux"):
        pytest.skip("no C compiler makes a system that fails")
    subprocess.run(command, check=True)

    def environment(place, what, number):
        return {"LD_PRELOAD": str(folder / "shim.so"), "SHIM": f"{what}={number}", "SHIM_IN": str(place)}

    return environment


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told_so(tmp_path, shim, number):
    program = f"""
import pathlib, sys
from eas_tf.errors import exit_code
from eas_tf.runs.record import Run
from eas_tf.runs.directory import RunDirectory
run = Run(config="{{}}", versions="{{}}", fingerprint="", created="")
sys.exit(exit_code(lambda: RunDirectory(pathlib.Path({str(tmp_path / "run")!r}), run)))
"""
    command = [sys.executable, "-W", "ignore", "-c", program]  # filelock warns that its own locks are weaker ones
    environment = {**os.environ, **shim(tmp_path, "lock", number)}
    told = error(subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment))
    assert "The file system gives no locks: use a local disk (--output" in told
    assert not re.search("room|damaged|delete|another program", told)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_record_where_there_are_no_locks_is_not_damaged(run, shim, number):
    told = error(script("report.py", run, "--output", "/dev/null", **shim(run, "lock", number)))
    assert "The file system gives no locks" in told
    assert not re.search("room|damaged|delete|another program", told)


ADVICE = {
    errno.ENOSPC: "Make room, and resume.",
    errno.EDQUOT: "Make room, and resume.",
    errno.EFBIG: "Make room, and resume.",
    errno.EIO: "The disk, or the way to it, has failed",
    errno.ESTALE: "The disk, or the way to it, has failed",
    errno.EACCES: "Continue as the owner",
    errno.EPERM: "Continue as the owner",
    errno.EROFS: "Continue in a copy of the directory, on a disk that can be written.",
    errno.ENOLCK: "use a local disk",
    errno.EOPNOTSUPP: "use a local disk",
    errno.EMFILE: "ulimit -n",
    errno.ENFILE: "ulimit -n",
    errno.ENAMETOOLONG: "Choose a shorter path.",
    errno.ENOENT: "put it back",
    errno.EBUSY: "Remove the cause, and resume.",
}


@pytest.mark.parametrize("number", ADVICE, ids=errno.errorcode.get)
def test_advice_fits_the_error(number):
    with pytest.raises(StorageFailed) as told, storing(Path("run")):
        raise OSError(number, os.strerror(number))
    assert str(told.value).startswith(f"run cannot be written: {os.strerror(number)}. ")
    assert ADVICE[number] in str(told.value)
    assert ("Make room" in str(told.value)) == (number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS], ids=errno.errorcode.get
)
def test_sqlite_is_asked_what_the_system_said(tmp_path, shim, number):
    path = tmp_path / "run.sqlite"
    Record.create(path, RUN).close()
    program = f"""
import pathlib, os, sys
from eas_tf.errors import exit_code
from eas_tf.runs.record import Record
record = Record(pathlib.Path({str(path)!r}), writable=True)
os.environ["SHIM"] = "write={number}"
sys.exit(exit_code(lambda: record.update(ended="now")))
"""
    environment = {**os.environ, **shim(tmp_path, "no", 0)}
    command = [sys.executable, "-c", program]
    told = error(subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment))
    assert f"run.sqlite cannot be written: {os.strerror(number)}. " in told
    assert ADVICE[number] in told
    with closing(Record(path)) as record:
        assert record.run().ended == ""


def test_a_record_that_was_moved_is_told_so(tmp_path):
    with closing(Record.create(tmp_path / "run.sqlite", RUN)) as record:
        (tmp_path / "run.sqlite").rename(tmp_path / "moved.sqlite")
        with pytest.raises(StorageFailed, match=r"cannot be written: No such file or directory\. It was moved"):
            record.update(ended="now")


def test_too_many_open_files_are_told_so(tmp_path):
    Record.create(tmp_path / "run.sqlite", RUN).close()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    descriptor = os.dup(0)  # the lowest one that is free
    os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptor, hard))
    try:
        for again in (lambda: Record(tmp_path / "run.sqlite"), lambda: Record.create(tmp_path / "b.sqlite", RUN)):
            with pytest.raises(StorageFailed, match=r"Too many open files\. Raise the limit of open files"):
                again()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_path_that_sqlite_does_not_take_is_refused_before_anything_is_written(tmp_path):
    long = tmp_path.joinpath(*["d" * 200] * 3)
    with pytest.raises(InvalidConfiguration, match="give a shorter one"):
        here("--engine", "surrogate", "--output", str(long))
    assert not list(tmp_path.iterdir())
    long.mkdir(parents=True)
    (long / "run.sqlite").write_bytes(b"something")
    with pytest.raises(StorageFailed, match=r"File name too long\. Choose a shorter path"):
        Record(long / "run.sqlite")


def test_the_advice_about_damage_loses_nothing(run, searched):
    """Whoever follows it has all files that there were, and a journal that belongs to another file does no harm."""
    kill_writer(run)
    files = {path.name: path.read_bytes() for path in run.glob("run.sqlite*")}
    files["run.sqlite"] = files["run.sqlite"][:5000]
    (run / "run.sqlite").write_bytes(files["run.sqlite"])
    with pytest.raises(RunDamaged) as told:
        here("--resume", str(run))
    record, copy = run / "run.sqlite", run / "run.copy.sqlite"
    assert f"put {record} and all run.sqlite-* aside, and move {copy} to {record}." in str(told.value)
    assert "delete" not in str(told.value)
    (run / "aside").mkdir()
    for path in run.glob("run.sqlite*"):
        path.rename(run / "aside" / path.name)
    with pytest.raises(EASError, match=r"has lost its run\.sqlite. To continue from the copy"):
        here("--resume", str(run))
    copy.rename(record)
    assert resumed(run) == searched[1]


def test_a_change_is_there_or_not_after_a_kill(tmp_path):
    """With half of it written."""
    path = tmp_path / "run.sqlite"
    with closing(Record.create(path, RUN)) as record:
        for number in range(40):
            record.add(replace(ROW, id=number), seconds=1.0)
        expected = record.networks()
    content = path.read_bytes()
    subprocess.run([sys.executable, "-c", KILLED, path], check=False)
    assert path.read_bytes() != content
    assert rows(path) == expected
