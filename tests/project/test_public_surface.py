"""What other people's scripts lean on: names, options, exit codes and files may be added, not taken away."""

import argparse
import inspect
from dataclasses import fields

import pytest

import deeptrade
from deeptrade import cli
from deeptrade.errors import Interrupted
from deeptrade.settings import FitSettings

NAMES = [
    "MemoryEfficientGenerator",
    "Trainer",
    "MemoryMonitor",
    "Schema",
    "DeepTradeError",
    "open_dataset",
    "open_store",
    "compile_store",
    "profile",
    "optimize",
    "predict",
    "run",
]

OPTIONS = {
    "synth": "--rows --seed --signal out",
    "build": "--duplicates --horizons --market --memory_limit --out --session --step --timeframes --window klines",
    "compile": "--cache_limit --chunk_size --duplicates --fresh --full_check --max_bad_rows --memory_limit --sort "
    "--store --workers data",
    "verify": "store",
    "export": "out store",
    "predict": "--batch_size --duplicates --intervals --max_bad_rows --max_rows --memory_limit --out --sort --store "
    "data model",
    "evaluate": "--csv --seed folder",
    "walk": "--embargo --folds --fresh --model_size --out --seeds --test_folds --test_ratio --train --warm_start data",
    "profile": "--sort --duplicates --chunk_size --max_rows --out --store data",
    "optimize": "--sort --duplicates --effective_batch --memory_limit --model_size --out --quick --store data",
    "fit": "--sort --duplicates --markets --embargo --target_step --inner_ratio "
    "--accum_steps --batch_size --cache_batches --cache_limit --checkpoint_every --chunk_size --clip_norm --csv "
    "--early_stop_patience --epochs --features --fresh --grad_accum --learning_rate --max_bad_rows --max_rows "
    "--max_steps --memory_limit --model_size --no_adapt --no_aggressive_gc --no_lazy_loading --no_memory_monitor "
    "--no_mmap --no_tf_allow_growth --out --plan --precision --prefetch --seed --skip_rl --store --val_ratio "
    "--rl_epochs --rl_batch_size --rl_fee --rl_gamma --rl_long_only --rl_csv --rl_out",
    "run": "--fresh --grid --out -r data",
    "report": "folder",
    "lab": "--out jupyter",
    "compare": "--out folders",
}

DEFAULTS = {
    "model_size": "small",
    "epochs": 1,
    "batch_size": 4,
    "accum_steps": 8,
    "learning_rate": 1e-3,
    "clip_norm": 1.0,
    "seed": 0,
    "val_ratio": 0.1,
    "inner_ratio": 0.15,
    "chunk_size": 10_000,
    "cache_batches": 0,
    "checkpoint_every": 50,
    "max_bad_rows": 0.01,
    "early_stop_patience": 0,
    "precision": "auto",
}

RUN_FILES = [
    "index.html",
    "run.json",
    "profile/profile.json",
    "profile/ledger.csv",
    "optimize/plan.json",
    "memory/memory.json",
    "train/result.json",
    "train/history.csv",
    "train/timing.csv",
    "train/starts.csv",
    "train/memory.jsonl",
    "train/ledger.csv",
    "train/model.keras",
    "train/evaluation.json",
    "train/forecasts.parquet",
    "train/inner_forecasts.parquet",
    "train/checkpoints",
    "train/logs",
    "01_profile_dataset.ipynb",
    "01_profile_dataset.html",
    "01_profile_dataset.full.html",
    "02_auto_optimize.ipynb",
    "02_auto_optimize.html",
    "02_auto_optimize.full.html",
    "03_train.ipynb",
    "03_train.html",
    "03_train.full.html",
    "04_memory_report.ipynb",
    "04_memory_report.html",
    "04_memory_report.full.html",
]

ARGUMENTS = {
    "compile_store": "data store workers memory_limit chunk_size max_bad_rows full_check fresh horizons executor sink "
    "progress",
    "open_dataset": "data store compiled max_bad_rows max_rows chunk_size horizons use_mmap load_all memory_limit sink "
    "progress",
    "open_store": "path use_mmap memory_limit",
    "profile": "data out store max_rows max_bad_rows chunk_size sink progress",
    "optimize": "data out store memory_limit effective_batch model_size quick settings sink",
    "predict": "model data batch_size split val_ratio intervals",
    "run": "data out parameters fresh sink",
    "MemoryMonitor": "path interval_seconds limit enabled",
    "Trainer": "model batch_size accum_steps target_scale learning_rate clip_norm optimizer row_weights callbacks "
    "averaging sink memory",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_stays(name):
    assert name in deeptrade.__all__
    assert getattr(deeptrade, name) is not None


@pytest.mark.parametrize("name", ARGUMENTS)
def test_the_arguments_of_a_public_name_stay(name):
    known = inspect.signature(getattr(deeptrade, name)).parameters
    assert set(ARGUMENTS[name].split()) <= set(known)


def test_the_function_is_meant_where_a_room_has_a_like_name():
    from deeptrade import profile, run
    from deeptrade.notebook import run as module
    from deeptrade.profiles import profile as other

    assert callable(profile)
    assert callable(run)
    assert (profile, run) == (other.profile, module.run)


@pytest.mark.parametrize("command", OPTIONS)
def test_the_options_of_a_command_stay(command):
    parser: argparse.ArgumentParser = cli._build_parser()[1][command]
    known = {action.option_strings[0] if action.option_strings else action.dest for action in parser._actions}
    assert set(OPTIONS[command].split()) <= known


def test_the_defaults_of_fit_stay():
    now = {item.name: item.default for item in fields(FitSettings)}
    assert {name: now[name] for name in DEFAULTS} == DEFAULTS


def test_a_signal_ends_with_the_exit_code_of_shells():
    assert [Interrupted(number).exit_code for number in (2, 15)] == [130, 143]


@pytest.mark.parametrize("name", RUN_FILES)
def test_a_file_that_a_run_leaves_stays(finished_run, name):
    assert (finished_run / name).exists()
