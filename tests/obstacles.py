"""What stands in the way of reading or writing a file, for real."""

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager

import pytest

_HOLD = """
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute(f"BEGIN {sys.argv[2]}")
database.execute("SELECT * FROM sqlite_schema").fetchall()
print("locked", flush=True)
time.sleep(float(sys.argv[3]))
"""


@contextmanager
def locked(path, seconds, how="IMMEDIATE"):
    """Another program's transaction in an SQLite file; `DEFERRED` only reads."""
    command = [sys.executable, "-c", _HOLD, str(path), how, str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout.readline() == "locked\n"
            yield
        finally:
            other.kill()


def forbid(place):
    """Take the right to write away; what a command needs before it, so that this holds for root, too."""
    for path in (place, *place.rglob("*")):
        path.chmod(path.stat().st_mode & ~0o222)
    if os.geteuid():
        return []
    if not shutil.which("setpriv"):
        pytest.skip("nothing takes root's rights away here")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-linux_immutable"]
