"""Zip files of unknown origin: how much one may unpack to."""

from pathlib import Path
from zipfile import ZipFile

#: A zip file that unpacks to more than `LARGE` bytes, and to more than `MOST_TIMES` its own size, is a bomb. Deflated
#: photographs unpack to 1 or 2 times, MNIST to 5, masks to a hundred times, nothing but zeros to 1,000 times.
LARGE, MOST_TIMES = 256 << 20, 200


def bomb(archive: ZipFile, path: Path) -> str:
    """What is wrong if a zip file unpacks to absurdly much; empty for an honest one.

    Args:
        archive: The open file.
        path: Where it is. Its size on the disk counts, because what it says of its members may be a lie.
    """
    size, stored = sum(member.file_size for member in archive.infolist()), path.stat().st_size
    if size <= max(LARGE, MOST_TIMES * stored):
        return ""
    return f"{stored / 2**20:,.1f} MiB that unpack to {size / 2**20:,.0f} MiB"
