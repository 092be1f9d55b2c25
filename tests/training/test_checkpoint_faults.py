"""A checkpoint while each write, flush to disk, rename and removal fails in turn: once, permanently, or by a kill."""

import errno
import os
from contextlib import contextmanager

import numpy as np
import pytest

from deeptrade import files
from deeptrade.errors import DeepTradeError
from deeptrade.training.checkpoints import Checkpoints

KILLED = 77


class Variable:
    """The parts of a Keras variable that a checkpoint needs."""

    def __init__(self, path, value):
        self.path, self.value = path, value
        self.shape, self.dtype = value.shape, value.dtype

    def numpy(self):
        return self.value

    def assign(self, value):
        self.value = value.copy()


def make_variables(seed):
    generator = np.random.default_rng(seed)
    shapes = {"model/kernel": (64, 40), "model/bias": (40,), "adam/momentum": (64, 40)}
    return [Variable(path, generator.normal(size=shape).astype(np.float32)) for path, shape in shapes.items()]


def values(variables):
    return [variable.value.tobytes() for variable in variables]


class Disk:
    """Counts disk operations and fails at operation `at` (with `lasting`, at all later ones too).

    `error` is an errno, or 0 for a kill: the process ends in the middle of the operation. What a power cut would have
    kept is known: `unsynced` holds files with bytes that were never flushed, and renames the folder has not kept.
    """

    def __init__(self, monkeypatch, *, at=0, error=0, lasting=False):
        self.at, self.error, self.lasting = at, error, lasting
        self.count, self.unsynced, self.renames = 0, {}, []
        plain = {name: getattr(os, name) for name in ("fsync", "replace", "unlink")}
        disk = self

        class File:
            def __init__(self, path, mode):
                self.raw, self.path = open(path, mode, buffering=0), str(path)  # noqa: SIM115
                disk.unsynced[self.path] = 0

            def write(self, data):
                disk.operate(lambda: self.raw.write(bytes(data)[: len(data) // 2]))
                return self.raw.write(data)

            def __getattr__(self, name):
                return getattr(self.raw, name)

            def __enter__(self):
                return self

            def __exit__(self, *exc):
                self.raw.close()

        def fsync(descriptor):
            disk.operate()
            plain["fsync"](descriptor)
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            if os.path.isdir(path):
                disk.renames.clear()
            disk.unsynced.pop(path, None)

        def replace(source, target):
            disk.operate()
            plain["replace"](source, target)
            disk.renames.append((str(source), str(target)))
            if str(source) in disk.unsynced:
                disk.unsynced[str(target)] = disk.unsynced.pop(str(source))

        def unlink(path, **options):
            disk.operate()
            plain["unlink"](path, **options)
            disk.unsynced.pop(str(path), None)

        monkeypatch.setattr(files, "open", lambda path, mode: File(path, mode), raising=False)
        for name, function in (("fsync", fsync), ("replace", replace), ("unlink", unlink)):
            monkeypatch.setattr(os, name, function)

    def operate(self, in_part=lambda: None):
        self.count += 1
        if self.count == self.at or (self.lasting and self.at and self.count > self.at):
            in_part()
            if not self.error:
                self.cut_power()
                os._exit(KILLED)
            raise OSError(self.error, os.strerror(self.error))

    def cut_power(self):
        """Leave what is certain to be on disk: flushed bytes, and renames that the folder was flushed after."""
        for path, size in self.unsynced.items():
            if os.path.exists(path):
                os.truncate(path, size)
        for source, target in reversed(self.renames):
            os.rename(target, source)


def start_over(folder):
    """A folder with only two generations, which saving a third must not lose."""
    checkpoints = Checkpoints(folder)
    for path in folder.glob("*"):
        path.unlink()
    for step in (1, 2):
        checkpoints.save(step, make_variables(step), {"step": step})
    return checkpoints


@pytest.fixture
def saved(tmp_path):
    return start_over(tmp_path / "c")


@contextmanager
def disk(**options):
    with pytest.MonkeyPatch.context() as patch:
        yield Disk(patch, **options)


def operations(folder, way="regular"):
    """The number of operations in a save."""
    step, options = WAYS[way]
    checkpoints = start_over(folder)
    with disk() as plain:
        checkpoints.save(step, make_variables(3), {"step": 3}, **options)
    return plain.count


def restored_step(checkpoints):
    variables = make_variables(0)
    step = checkpoints.restore(variables)["step"]
    assert values(variables) == values(make_variables(step)), "a mixture of generations"
    return step


def test_every_operation_of_a_save_is_counted(tmp_path):
    assert operations(tmp_path) > 20


WAYS = {"regular": (3, {}), "stop": (3, {"regular": False}), "return": (1, {"returns": 1})}
"""How a third generation is saved, and at which step."""


def test_a_checkpoint_after_a_rollback_is_newest_even_if_earlier_ones_cannot_be_removed(saved, monkeypatch):
    saved.save(8, make_variables(8), {"step": 8}, regular=False)
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", lambda path, **options: (_ for _ in ()).throw(OSError(errno.EIO, "broken")))
        with pytest.raises(DeepTradeError, match="removing old checkpoints"):
            saved.save(1, make_variables(3), {"step": 3}, returns=1)
    assert restored_step(saved) == 3
    saved.save(2, make_variables(5), {"step": 5}, returns=1)
    assert restored_step(saved) == 5
    assert not list(saved._folder.glob("stop-*"))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC], ids=errno.errorcode.get)
def test_after_a_failure_at_any_operation_the_old_or_the_new_state_is_complete(saved, tmp_path, way, error, lasting):
    step, options = WAYS[way]
    count, steps = operations(tmp_path / "other", way), set()
    for at in range(1, count + 1):
        with disk(at=at, error=error, lasting=lasting), pytest.raises(DeepTradeError):
            saved.save(step, make_variables(3), {"step": 3}, **options)
        steps.add(restored_step(saved))
        saved.save(4, make_variables(4), {"step": 4}, returns=1)
        assert restored_step(saved) == 4
        assert len(list((tmp_path / "c").glob("*.npz"))) == 2
        start_over(tmp_path / "c")
    assert steps == {2, 3}


def test_after_a_kill_or_power_cut_in_any_operation_the_old_or_the_new_state_is_complete(saved, tmp_path):
    """The child loses every byte that was not flushed and every rename that the folder has not kept."""
    count, steps = operations(tmp_path / "other"), set()
    for at in range(1, count + 1):
        child = os.fork()
        if not child:
            try:
                with disk(at=at):
                    saved.save(3, make_variables(3), {"step": 3})
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == KILLED
        steps.add(restored_step(saved))
        saved.save(4, make_variables(4), {"step": 4})
        assert restored_step(saved) == 4
        start_over(tmp_path / "c")
    assert steps == {2, 3}


def test_a_checkpoint_truncated_at_any_4_kib_is_detected_and_the_previous_one_is_used(saved, tmp_path):
    lines = []
    newest = tmp_path / "c" / "step-0000000002.npz"
    content = newest.read_bytes()
    assert len(content) > 20_000
    for size in range(0, len(content), 4096):
        newest.write_bytes(content[:size])
        assert restored_step(Checkpoints(tmp_path / "c", sink=lines.append)) == 1
        assert "step-0000000002.npz is damaged" in lines.pop()
