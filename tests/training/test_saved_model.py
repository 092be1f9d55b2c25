import hashlib

import keras
import numpy as np
import pytest

from deeptrade.errors import DoesNotFitError
from deeptrade.run_folder import TrainingFolder
from deeptrade.training.saved_model import save_model, weights_sha256


def save(model, folder):
    save_model(model, folder.model, unfinished=folder.unfinished_model)


def tiny_model():
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])


def test_a_saved_model_leaves_no_other_file_and_leftovers_of_a_kill_are_removed(tmp_path):
    model = tiny_model()
    save(model, TrainingFolder(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]
    for name in (".model.tmp.keras", ".result.json.7.tmp", "checkpoints/.step-0000000001.npz.7.tmp", "mine.tmp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    TrainingFolder(tmp_path).remove_leftovers()
    assert {path.name for path in tmp_path.rglob("*")} == {"model.keras", "checkpoints", "mine.tmp"}
    x = np.ones((3, 2), np.float32)
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(x), model(x))


def test_a_full_disk_while_the_model_is_saved_leaves_the_old_model_and_one_line(tmp_path, monkeypatch):
    (tmp_path / "model.keras").write_bytes(b"old")

    def full(path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    model = tiny_model()
    monkeypatch.setattr(model, "save", full)
    with pytest.raises(DoesNotFitError, match=r"writing model.keras.*free some space"):
        save(model, TrainingFolder(tmp_path))
    assert (tmp_path / "model.keras").read_bytes() == b"old"


def test_the_hash_is_over_float32_bytes_in_the_order_of_paths():
    with keras.name_scope("b"):
        first = keras.Variable(np.array([1, 2]), dtype="float32", name="w")
    with keras.name_scope("a"):
        second = keras.Variable(np.array([[3.0]]), dtype="float32", name="w")
    expected = hashlib.sha256(np.array([3, 1, 2], "<f4").tobytes()).hexdigest()
    assert weights_sha256([first, second]) == weights_sha256([second, first]) == expected
