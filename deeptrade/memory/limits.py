"""How much memory this process may use: the smallest of the user's limit, cgroups, rlimits and the machine.

Inside a container psutil reports the memory of the machine, and a program that believes it is killed. So the
cgroup files are read here, from the process's own group up to the root: an outer group may be the tighter.
"""

from __future__ import annotations

import resource
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from ..units import parse_bytes
from .process import read_memory, read_status

# cgroup v1 writes the largest multiple of the page size below 2**63 for 'no limit'; nothing real comes near.
UNLIMITED_BYTES = 1 << 60


@dataclass(frozen=True)
class Limit:
    """One bound on memory.

    `source` is 'user', 'cgroup v2', 'cgroup v1', 'RLIMIT_AS', 'RLIMIT_DATA' or 'machine'; `limit_bytes` the
    bound; `available_bytes` what is left below it now, never negative.
    """

    source: str
    limit_bytes: int
    available_bytes: int


class MemoryLimits:
    """Every limit on this process's memory: cgroups, rlimits, the machine, and the user's where there is one.

    Made once from the user's text, at the edge, and handed on from there. The cgroups are looked up once; what they
    and the others leave is read again at every question.

    `text` is the user's limit as it was given, such as '2GiB' ('': none), `user_bytes` the same in bytes (0: none).
    `root` is the folder below which proc and the cgroup mounts lie, which tests make up; rlimits and the machine's
    memory are always the real ones.

    Raises SettingsError where the text is not a size.
    """

    def __init__(self, text: str = "", *, root: Path = Path("/")):
        self.text, self.user_bytes = text, parse_bytes(text) if text else 0
        self._root, self._groups = root, _find_groups(root)

    @classmethod
    def of(cls, user: MemoryLimits | str | int = "") -> MemoryLimits:
        """Return the limits with the user's: a size as text, bytes (0: none), or limits that were made already."""
        if isinstance(user, MemoryLimits):
            return user
        return cls(f"{user}B" if isinstance(user, int) and user else str(user or ""))

    def all(self) -> list[Limit]:
        """Return every limit that applies: cgroups from the innermost out, rlimits, the machine, last the user's.

        What this process holds as anonymous memory counts against the user's limit.
        """
        limits = [*_limits_of(self._groups), *rlimit_limits(), machine_limit()]
        if self.user_bytes:
            limits.append(_limit("user", self.user_bytes, read_memory(root=self._root).anon_bytes))
        return limits

    def smallest(self) -> Limit:
        """Return the smallest limit, with the least that is available under any.

        The user's may be above what the machine has; then it does not bind. The available bytes may belong to another
        limit than the smallest: a group of 8 GiB that holds 7.5 leaves less than a machine of 4 GiB that holds 1.
        """
        limits = self.all()
        smallest = min(limits, key=lambda limit: limit.limit_bytes)
        return replace(smallest, available_bytes=min(limit.available_bytes for limit in limits))

    def available_bytes(self) -> int:
        """Return the least that is left under any limit."""
        return min(limit.available_bytes for limit in self.all())

    def rooms(self, reserved_bytes: Mapping[str, int]) -> list[tuple[Limit, int]]:
        """Return every limit with the anonymous bytes it leaves to a process that takes this one's place.

        That is what is available, plus what this process gives back, minus what the other counts against that kind of
        limit without holding it (`reserved_bytes` by source). The user's limit is a room as it stands.
        """
        own = read_memory(root=self._root).anon_bytes
        return [
            (limit, limit.limit_bytes)
            if limit.source == "user"
            else (limit, min(limit.limit_bytes, limit.available_bytes + own) - reserved_bytes.get(limit.source, 0))
            for limit in self.all()
        ]


def machine_limit() -> Limit:
    """Return the machine's memory: all of it, and what can be had without swapping (MemAvailable)."""
    memory = psutil.virtual_memory()
    return Limit("machine", memory.total, memory.available)


def rlimit_limits() -> list[Limit]:
    """Return the soft limits on address space and on private writable memory, where they are set.

    The first counts mapped files and reservations too (VmSize), the second only private data (VmData).
    """
    limits = []
    for source, used in (("RLIMIT_AS", "VmSize"), ("RLIMIT_DATA", "VmData")):
        soft, _ = resource.getrlimit(getattr(resource, source))
        if soft != resource.RLIM_INFINITY and soft < UNLIMITED_BYTES:
            limits.append(_limit(source, soft, read_status().get(used, 0)))
    return limits


def cgroup_limits(root: Path = Path("/")) -> list[Limit]:
    """Return one limit per limited cgroup between the process's own and the root, innermost first.

    Reads both hierarchies: a hybrid machine mounts an empty v2 beside v1's memory controller. A file that is
    missing or cannot be read is no limit. What a group uses is its working set: current bytes less the file
    pages the kernel would drop first (kubernetes counts the same way).
    """
    return _limits_of(_find_groups(root))


def _limits_of(groups: Iterable[_Group]) -> list[Limit]:
    return [limit for limit in map(_read_group, groups) if limit is not None]


def pressure_file(root: Path = Path("/")) -> Path:
    """Return the kernel's file on how long tasks wait for memory: of this process's cgroup (v2), else the machine."""
    own = (group.folder / "memory.pressure" for group in _find_groups(root) if group.hierarchy is _V2)
    return next((path for path in own if path.exists()), root / "proc/pressure/memory")


@dataclass(frozen=True)
class _Hierarchy:
    """The file names of one cgroup version."""

    source: str
    limit: str
    current: str
    inactive_file: str


@dataclass(frozen=True)
class _Group:
    """One cgroup as a folder."""

    folder: Path
    hierarchy: _Hierarchy


_V1 = _Hierarchy("cgroup v1", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2 = _Hierarchy("cgroup v2", "memory.max", "memory.current", "inactive_file")


@dataclass(frozen=True)
class _Mount:
    """A mounted hierarchy: its version, the group that appears at its top, and where it is mounted."""

    version: int
    top: str
    point: str


def _find_groups(root: Path) -> list[_Group]:
    """Return the process's groups and their parents, innermost first."""
    paths = _group_paths(root)
    return [
        _Group(folder, _V2 if mount.version == 2 else _V1)
        for mount in _memory_mounts(root)
        for folder in _ancestry(root, mount, paths.get(mount.version, "/"))
    ]


def _group_paths(root: Path) -> dict[int, str]:
    """Return the process's group by cgroup version, from lines such as '4:memory:/a' and '0::/a'."""
    paths = {}
    for line in _read_lines(root / "proc/self/cgroup"):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            paths[2] = path
        elif "memory" in controllers.split(","):
            paths[1] = path
    return paths


def _memory_mounts(root: Path) -> Iterator[_Mount]:
    seen = set()
    for line in _read_lines(root / "proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        version = 2 if kind[0] == "cgroup2" else 1 if _is_v1_memory(kind) else 0
        if version and version not in seen:  # a second mount of a hierarchy shows the same groups
            seen.add(version)
            yield _Mount(version, _unescape(fields[3]), _unescape(fields[4]))


def _is_v1_memory(kind: list[str]) -> bool:
    return kind[0] == "cgroup" and "memory" in kind[2].split(",")


def _unescape(path: str) -> str:
    return path.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")


def _ancestry(root: Path, mount: _Mount, group: str) -> Iterator[Path]:
    """Yield the folders of the group and its parents up to the mount point.

    Inside a container the mount may show only a part of the hierarchy while the group's path still begins at
    the host's root, or with '/..' in a namespace: the mount point is then the group as far as can be seen.
    """
    point = root / mount.point.lstrip("/")
    top = mount.top.rstrip("/") + "/"
    below = group.removeprefix(top) if group.startswith(top) else ""
    parts = [] if ".." in below.split("/") else [part for part in below.split("/") if part]
    for depth in range(len(parts), -1, -1):
        yield point.joinpath(*parts[:depth])


def _read_group(group: _Group) -> Limit | None:
    folder, hierarchy = group.folder, group.hierarchy
    limit = _read_number(folder / hierarchy.limit)
    if limit is None or limit >= UNLIMITED_BYTES:
        return None
    current = _read_number(folder / hierarchy.current) or 0
    reclaimable = 0
    for line in _read_lines(folder / "memory.stat"):
        name, _, value = line.partition(" ")
        if name == hierarchy.inactive_file and value.isdigit():
            reclaimable = int(value)
    return _limit(hierarchy.source, limit, max(0, current - reclaimable))


def _limit(source: str, limit_bytes: int, used_bytes: int) -> Limit:
    return Limit(source, limit_bytes, max(0, limit_bytes - used_bytes))


def _read_number(path: Path) -> int | None:
    """Return the number in a one-line file; None for 'max', and for a file that is not there."""
    lines = _read_lines(path)
    return int(lines[0]) if lines and lines[0].isdigit() else None


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []
