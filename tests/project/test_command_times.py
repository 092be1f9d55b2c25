"""README's table of times, and the benchmark that holds it against a machine."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from deeptrade.making.klines import build

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def benchmark():
    spec = spec_from_file_location("command_times", ROOT / "benchmarks" / "command_times.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_readme_states_times_of_commands_that_are_measured(benchmark):
    stated = benchmark.read_stated(benchmark.README)
    assert {"build", "compile", "fit", "evaluate", "run"} <= set(stated)
    assert all(states and min(states.values()) > 0 for states in stated.values())


@pytest.mark.parametrize(("seconds", "is_told"), [(6.0, False), (9.1, True), (3.9, True)])
def test_a_time_that_is_not_within_half_of_the_stated_one_is_told(benchmark, seconds, is_told):
    lines = benchmark.broken({"fit": {"cold": (20.0, seconds)}}, {"fit": {"cold": 6.0}})
    assert bool(lines) == is_told
    assert all("fit, cold: " in line and "states 6" in line for line in lines)


def test_the_table_that_is_printed_is_the_one_that_is_read(benchmark, tmp_path):
    times = {"compile": {"cold": (2.0, 1.3), "warm": (1.0, 0.9)}, "verify": {"warm": (0.6, 0.4)}}
    page = tmp_path / "README.md"
    page.write_text(f"# A\n\n## How long it takes\n\n{benchmark.markdown(times)}\n\n## More\n")
    assert benchmark.read_stated(page) == {"compile": {"cold": 1.3, "warm": 0.9}, "verify": {"warm": 0.4}}


def test_its_klines_can_be_built(benchmark, tmp_path):
    benchmark.write_klines(tmp_path / "klines.csv", bars=20_000)
    build([tmp_path / "klines.csv"], out=tmp_path / "built.csv")
    assert (tmp_path / "built.csv").stat().st_size > 1_000_000
