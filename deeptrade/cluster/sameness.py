"""What must be the same on another machine before it works for this one: the package, and the files it reads."""

from __future__ import annotations

import hashlib
import socket
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from .. import __version__
from ..errors import ClusterError, DeepTradeError
from ..files import is_address
from ..inputs import LocalFile
from ..sources.identity import content_id
from ..sources.kinds import find_files
from ..store.layout import MANIFEST
from ..store.locate import is_store


@lru_cache(maxsize=1)
def version_here() -> str:
    """Return the version of this package and a checksum of its code, which a version in development lacks."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(file.read_bytes())
    return f"deeptrade {__version__} ({digest.hexdigest()[:8]})"


def check_version(there: str, wanted: str) -> None:
    """Raise ClusterError where a worker has another version than the machine that asks."""
    if there != wanted:
        raise ClusterError(f"a worker has {there}, here is {wanted}; install the same on all machines")


@dataclass(frozen=True)
class Sample:
    """A file of the machine that asks: its path, its bytes, and a checksum of samples of them."""

    path: Path
    size: int
    checksum: str

    @classmethod
    def of(cls, file: LocalFile) -> Sample:
        """Read the samples: 3 MiB."""
        return cls(file.path, file.size, content_id([file], "a copy on a worker"))

    def check(self) -> None:
        """On a worker: raise ClusterError where the file is another, or none."""
        host = socket.gethostname()
        try:
            there = LocalFile.at(self.path)
            same = there.size == self.size and sample_of(there) == self
        except DeepTradeError as error:
            raise ClusterError(f"a worker on {host}: {error}; give a path that all machines share") from None
        if not same:
            raise ClusterError(
                f"{self.path} on {host} is not the file that is here; copy it anew, or give a path that all share"
            )


@lru_cache(maxsize=64)
def sample_of(file: LocalFile) -> Sample:
    """Return the sample of a file as it is: another size or time makes another."""
    return Sample.of(file)


def samples_of(data: str) -> list[Sample]:
    """Return samples of the files that some data names; of a store its manifest, which has every block's checksum."""
    if is_address(data):
        return []
    files = [LocalFile.at(Path(data) / MANIFEST)] if is_store(data) else find_files(data)
    return [sample_of(file) for file in files if isinstance(file, LocalFile)]
