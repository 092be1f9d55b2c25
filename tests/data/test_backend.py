import json
import os
import subprocess
import sys

import pytest

from deeptrade.data.backend import keras, refuse_other_settings
from deeptrade.errors import SettingsError
from tests.support.markets import make_market

SETTINGS = """
from deeptrade.data.backend import keras, left_aside
from keras.src.backend.config import keras_home
config = keras.config
print(config.backend(), config.floatx(), config.epsilon(), config.image_data_format(), config.dtype_policy().name)
print(keras_home())
print(left_aside())"""


def run_child(code, **environment):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KERAS_")}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env=kept | environment, check=False)


def write_config(folder, **values):
    folder.mkdir()
    (folder / "keras.json").write_text(json.dumps(values))
    return str(folder)


@pytest.mark.parametrize(
    ("config", "variables"),
    [
        ({"floatx": "float16", "epsilon": 1e-3, "backend": "torch", "image_data_format": "channels_first"}, {}),
        (
            {"floatx": "bfloat16", "image_dim_ordering": "tf", "backend": "theano", "nnx_enabled": True},
            {"KERAS_BACKEND": "", "KERAS_NNX_ENABLED": "1", "KERAS_MAX_EPOCHS": "none", "TF_USE_LEGACY_KERAS": "1"},
        ),
    ],
)
def test_the_keras_json_of_another_project_is_not_read(tmp_path, config, variables):
    home = write_config(tmp_path / "home", **config)
    done = run_child(SETTINGS, KERAS_HOME=home, **variables)
    assert done.stdout.splitlines() == ["tensorflow float32 1e-07 channels_last float32", home, "[]"], done.stderr


def test_no_keras_json_is_made_in_the_users_home(tmp_path):
    (tmp_path / ".keras").mkdir()
    assert f"{tmp_path}/.keras" in run_child(SETTINGS, HOME=str(tmp_path)).stdout
    assert list((tmp_path / ".keras").iterdir()) == []


def test_another_backend_has_no_effect_a_line_says_so_and_the_variable_stays(tmp_path):
    code = f"{SETTINGS}; import os; print(os.environ['KERAS_BACKEND'])"
    lines = run_child(code, KERAS_BACKEND="torch").stdout.splitlines()
    assert lines[0].startswith("tensorflow")
    assert lines[2:] == ["['KERAS_BACKEND=torch has no effect: DeepTrade trains with TensorFlow']", "torch"]


def test_a_process_in_which_keras_runs_on_another_backend_is_told_what_to_do():
    code = """
import keras
keras.config.backend = lambda: "torch"
from deeptrade.errors import SettingsError
try:
    import deeptrade.training.loop
except SettingsError as error:
    print(error)
"""
    line = run_child(code).stdout.strip()
    assert line.startswith("Keras runs on 'torch' in this process, DeepTrade needs 'tensorflow'; restart it")
    assert "\n" not in line


@pytest.mark.parametrize(
    ("name", "value", "usual"),
    [
        ("floatx", "float16", "float32"),
        ("image_data_format", "channels_first", "channels_last"),
        ("dtype_policy", "mixed_float16", "float32"),
    ],
)
def test_settings_made_in_a_notebook_that_would_change_results_are_refused_by_name(name, value, usual):
    change = getattr(keras.config, f"set_{name}")
    change(value)
    try:
        with pytest.raises(SettingsError, match=rf"keras.config.{name}\(\) is '{value}'.*set_{name}\('{usual}'\)"):
            refuse_other_settings()
    finally:
        change(usual)
    refuse_other_settings()


def test_fit_gives_the_same_weights_whatever_the_users_keras_is_set_to(tmp_path):
    market = make_market(tmp_path / "market.csv", rows=60)
    odd = write_config(tmp_path / "odd", floatx="float16", image_data_format="channels_first", backend="jax")
    hashes = set()
    for name, variables in (("plain", {}), ("odd", {"KERAS_HOME": odd, "KERAS_BACKEND": "torch"})):
        out = tmp_path / name
        options = f"--csv={market.path} --out={out} --model_size=tiny --max_steps=1".split()
        code = f"from deeptrade.cli import main; raise SystemExit(main({['fit', *options]}))"
        done = run_child(code, **variables)
        assert done.returncode == 0, done.stderr
        assert ("KERAS_BACKEND=torch has no effect" in done.stdout) == (name == "odd")
        hashes.add(json.loads((out / "result.json").read_text())["weights_sha256"])
    assert len(hashes) == 1
