"""Checkpoints: one file holds weights, optimizer and position, so a kill cannot leave half a state."""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from ..files import atomic_write, friendly_os_errors

KEPT, KEPT_BEST = 2, 3
"""Regular checkpoints that are kept, and weights of the best epochs: each epoch ends in a checkpoint, so a checkpoint
that is kept never names weights older than those of the third best epoch before it."""

_STATE = "__state__"
_REGULAR, _STOP, _BEST = "step", "stop", "best"

_DAMAGE = (OSError, ValueError, EOFError, KeyError, RuntimeError, struct.error, zipfile.BadZipFile, zlib.error)
"""What reading a damaged archive raises; RuntimeError if a flipped bit means a password or a newer format."""


class Checkpoints:
    """The two newest checkpoints of a run in `folder`: NumPy archives whose parts carry checksums.

    Regular ones, `step-N.npz`, are written at steps that depend only on settings and data, so a run that rolls back
    returns to the same step wherever it was interrupted. One written because the run stops, `stop-N.npz`, is kept until
    the next regular one. After a rollback, names end in `-rR`, where R counts rollbacks (`returns`): the newer file has
    the larger R, then the larger N.
    """

    def __init__(self, folder: Path, *, sink: Callable[[str], None] = lambda line: None):
        self._folder, self._sink = folder, sink

    def save(
        self,
        step: int,
        variables: Sequence[Any],
        state: Mapping[str, Any],
        *,
        regular: bool = True,
        returns: int = 0,
    ) -> None:
        """Write the variables by path and the plain state, then drop all but the newest two.

        Variables are copied one at a time, so a checkpoint needs no second set of weights in memory.
        """
        if len({variable.path for variable in variables}) != len(variables):
            raise ValueError("two variables share a path")
        ending = f"-r{returns}" if returns else ""
        path = self._folder / f"{_REGULAR if regular else _STOP}-{step:010d}{ending}.npz"
        _write(path, variables, state)
        kept = [*self._paths(regular=True)[:KEPT], *self._paths()[:1]]
        with friendly_os_errors("removing old checkpoints"):
            for old in set(self._paths()) - set(kept):
                old.unlink()

    def restore(self, variables: Sequence[Any], *, before: int | None = None) -> dict[str, Any] | None:
        """Set the variables from the newest sound checkpoint and return its state; None when there is none.

        With `before`, use the newest regular one of an earlier step, or the oldest if there is none.

        Raises DataError when checkpoints exist but none can be read, or when the one read is of another model.
        """
        path = self._newest(self._paths() if before is None else self._paths_before(before), whole=True)
        if path is None:
            return None
        with zipfile.ZipFile(path) as archive:
            _assign(variables, archive)
            return _read_state(archive)

    def save_best(self, step: int, variables: Sequence[Any]) -> None:
        """Write the weights of the best epoch so far, `best-N.npz`, which ended after `step` steps."""
        _write(self._best(step), variables, {})
        self._keep_best(sorted(self._folder.glob(f"{_BEST}-*.npz"))[-KEPT_BEST:])

    def restore_best(self, step: int, variables: Sequence[Any]) -> None:
        """Set the variables to the weights that `save_best` wrote; DataError where they cannot be read."""
        path = self._best(step)
        try:
            _check(path, whole=True)
        except _DAMAGE as error:
            raise DataError(f"{path} cannot be read ({error}); start over with --fresh") from None
        with zipfile.ZipFile(path) as archive:
            _assign(variables, archive)

    def forget_best_after(self, step: int) -> None:
        """Remove the weights of epochs that a rollback to `step` has undone."""
        self._keep_best([path for path in self._folder.glob(f"{_BEST}-*.npz") if path <= self._best(step)])

    def _best(self, step: int) -> Path:
        return self._folder / f"{_BEST}-{step:010d}.npz"

    def _keep_best(self, kept: Sequence[Path]) -> None:
        with friendly_os_errors("removing weights of earlier epochs"):
            for path in set(self._folder.glob(f"{_BEST}-*.npz")) - set(kept):
                path.unlink()

    def read_state(self) -> dict[str, Any] | None:
        """Return only the state, from the newest checkpoint whose state is sound; None when there is none."""
        path = self._newest(self._paths(), whole=False)
        if path is None:
            return None
        with zipfile.ZipFile(path) as archive:
            return _read_state(archive)

    def _newest(self, paths: Sequence[Path], *, whole: bool) -> Path | None:
        """The first sound checkpoint (`whole`: every part is checked, else only the state)."""
        for path in paths:
            try:
                _check(path, whole=whole)
                return path
            except _DAMAGE as error:
                self._sink(f"checkpoint {path.name} is damaged ({error}); using the previous one")
        if paths:
            raise DataError(f"no checkpoint in {self._folder} can be read; start over with --fresh")
        return None

    def _paths(self, *, regular: bool = False) -> list[Path]:
        """Newest first."""
        kinds = [_REGULAR] if regular else [_REGULAR, _STOP]
        return sorted((path for kind in kinds for path in self._folder.glob(f"{kind}-*.npz")), key=_age, reverse=True)

    def _paths_before(self, step: int) -> list[Path]:
        """Regular ones before a step, newest first, then the rest, oldest first."""
        paths = self._paths(regular=True)
        early = [path for path in paths if _age(path)[1] < step]
        return [*early, *(path for path in reversed(paths) if path not in early)]


def _write(path: Path, variables: Sequence[Any], state: Mapping[str, Any]) -> None:
    with atomic_write(path) as file, zipfile.ZipFile(file, "w") as archive:
        _write_part(archive, _STATE, np.frombuffer(json.dumps(dict(state)).encode(), np.uint8))
        for variable in variables:
            _write_part(archive, variable.path, variable.numpy())


def _age(path: Path) -> tuple[int, int, bool]:
    """Sort key, oldest first: rollbacks, then step; at the same step a stop checkpoint is newer."""
    kind, step, *returns = path.stem.split("-")
    return int(returns[0][1:]) if returns else 0, int(step), kind == _STOP


def _write_part(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as part:
        np.lib.format.write_array(part, array, allow_pickle=False)


def _read_part(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(f"{name}.npy") as part:
        return np.lib.format.read_array(part, allow_pickle=False)


def _check(path: Path, *, whole: bool) -> None:
    """Read what must be sound, one part at a time; raises if a checksum differs or a part is missing."""
    with zipfile.ZipFile(path) as archive:
        _read_state(archive)
        damaged = archive.testzip() if whole else None
    if damaged:
        raise zipfile.BadZipFile(f"the checksum of {damaged} does not match")


def _read_state(archive: zipfile.ZipFile) -> dict[str, Any]:
    return json.loads(_read_part(archive, _STATE).tobytes())


def _assign(variables: Sequence[Any], archive: zipfile.ZipFile) -> None:
    """Set every variable; nothing is set unless all paths, shapes and dtypes match the archive."""
    wanted = {variable.path: (tuple(variable.shape), str(variable.dtype)) for variable in variables}
    paths = [name.removesuffix(".npy") for name in archive.namelist()]
    found = {path: _shape_and_dtype(archive, path) for path in paths if path != _STATE}
    if wanted != found:
        different = sorted(set(wanted.items()) ^ set(found.items()))[0][0]
        raise DataError(f"the checkpoint is of another model ({different!r} differs); start over with --fresh")
    for variable in variables:
        variable.assign(_read_part(archive, variable.path))


def _shape_and_dtype(archive: zipfile.ZipFile, path: str) -> tuple[tuple[int, ...], str]:
    """Read only the header."""
    with archive.open(f"{path}.npy") as part:
        np.lib.format.read_magic(part)
        shape, _, dtype = np.lib.format.read_array_header_1_0(part)
    return shape, str(dtype)
