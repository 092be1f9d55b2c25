import keras
import numpy as np
import pytest

from deeptrade.errors import DataError, DoesNotFitError
from deeptrade.training.checkpoints import Checkpoints


@pytest.fixture
def variables():
    generator = np.random.default_rng(0)
    return [
        named("adam/iterations", np.array(7, np.int32)),
        named("model_a/kernel", generator.normal(size=(30, 4)).astype(np.float32)),
        named("model_a/bias", generator.normal(size=4).astype(np.float32)),
    ]


def named(path, value):
    folder, _, name = path.rpartition("/")
    with keras.name_scope(folder):
        return keras.Variable(value, dtype=value.dtype, name=name)


def values(variables):
    return [variable.numpy().tobytes() for variable in variables]


def overwrite(variables):
    for variable in variables:
        variable.assign(np.zeros(variable.shape, variable.dtype))


def test_what_was_saved_comes_back_bit_by_bit(tmp_path, variables):
    before, checkpoints = values(variables), Checkpoints(tmp_path)
    checkpoints.save(3, variables, {"epoch": 1, "position": 64})
    overwrite(variables)
    assert checkpoints.restore(variables) == {"epoch": 1, "position": 64}
    assert values(variables) == before


def test_the_state_can_be_read_alone(tmp_path, variables):
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.read_state() is None
    checkpoints.save(3, variables, {"epoch": 1})
    assert checkpoints.read_state() == {"epoch": 1}


def test_only_the_two_newest_are_kept(tmp_path, variables):
    for step in (5, 10, 1000):
        Checkpoints(tmp_path).save(step, variables, {"step": step})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-0000000010.npz", "step-0000001000.npz"]
    assert Checkpoints(tmp_path).read_state() == {"step": 1000}


def damage_cut(content):
    return content[: len(content) // 2]


def damage_flip(content):
    middle = content.index(b"model_a/kernel.npy") + 200
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def damage_empty(content):
    return b""


@pytest.mark.parametrize("damage", [damage_cut, damage_flip, damage_empty])
def test_a_damaged_checkpoint_is_reported_and_the_previous_one_is_used(tmp_path, variables, damage):
    lines = []
    checkpoints = Checkpoints(tmp_path, sink=lines.append)
    checkpoints.save(1, variables, {"step": 1})
    before = values(variables)
    variables[1].assign_add(np.ones((30, 4), np.float32))
    checkpoints.save(2, variables, {"step": 2})
    newest = tmp_path / "step-0000000002.npz"
    newest.write_bytes(damage(newest.read_bytes()))
    assert checkpoints.restore(variables) == {"step": 1}
    assert values(variables) == before
    assert "step-0000000002.npz is damaged" in lines[0]


@pytest.mark.parametrize("bit", [0, 6])
def test_a_flipped_bit_anywhere_is_found_or_harmless(tmp_path, variables, bit):
    before, checkpoints = values(variables), Checkpoints(tmp_path)
    checkpoints.save(1, variables, {"step": 1})
    path = tmp_path / "step-0000000001.npz"
    content = path.read_bytes()
    found = 0
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ (1 << bit)]) + content[at + 1 :])
        try:
            state = checkpoints.restore(variables)
        except DataError:
            found += 1
        else:
            assert (state, values(variables)) == ({"step": 1}, before), at
    assert found > sum(map(len, before))


def test_a_checkpoint_of_another_model_is_refused_by_name(tmp_path, variables):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, variables, {})
    other = [*variables[:2], named("model_b/bias", np.zeros(4, np.float32))]
    with pytest.raises(DataError, match=r"model_[ab]/bias"):
        checkpoints.restore(other)


@pytest.mark.parametrize("part", [0, 1, 2, 3])
def test_a_save_that_fails_at_any_part_leaves_the_previous_checkpoint(tmp_path, variables, monkeypatch, part):
    checkpoints, before = Checkpoints(tmp_path), values(variables)
    checkpoints.save(1, variables, {"step": 1})
    write, written = np.lib.format.write_array, []

    def fail_at_part(*arguments, **options):
        written.append(1)
        if len(written) > part:
            raise OSError(28, "No space left on device")
        write(*arguments, **options)

    monkeypatch.setattr(np.lib.format, "write_array", fail_at_part)
    with pytest.raises(DoesNotFitError, match="No space left"):
        checkpoints.save(2, variables, {"step": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["step-0000000001.npz"]
    overwrite(variables)
    assert checkpoints.restore(variables) == {"step": 1}
    assert values(variables) == before


def test_a_checkpoint_can_be_opened_with_numpy(tmp_path, variables):
    Checkpoints(tmp_path).save(1, variables, {})
    with np.load(tmp_path / "step-0000000001.npz") as archive:
        np.testing.assert_array_equal(archive["model_a/bias"], variables[2].numpy())
