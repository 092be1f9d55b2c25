import re
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from deeptrade.data.opening import open_dataset
from deeptrade.settings import FitSettings

ROOT = Path(__file__).parents[2]


def test_conda_users_get_the_same_packages():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert sorted(conda[-1]["pip"]) == sorted(project["dependencies"])
    assert f"python{project['requires-python']}" in conda


def test_the_lock_names_one_version_each_and_no_host():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line) for line in lines)
    locked = {re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in lines}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["test"]
    assert {re.split(r"[<>=]", line)[0].replace("_", "-").lower() for line in wanted} <= locked


def test_importing_the_package_imports_neither_tensorflow_nor_pandas():
    code = "import sys, deeptrade; sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras', 'pandas')))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there():
    import deeptrade

    for name in deeptrade.__all__:
        assert getattr(deeptrade, name) is not None


def test_every_folder_of_the_package_is_installed_and_the_notebooks_too():
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {path.parent for path in (ROOT / "deeptrade").rglob("*.py")}
    expected = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert set(packages) == expected | {"deeptrade.notebooks", "deeptrade.report.templates"}


def test_make_alone_prints_its_targets():
    text = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("demo", "test", "test-all", "lint", "lab", "docs", "report", "clean"):
        assert re.search(rf"make {target} +\w", text)


def test_every_option_of_fit_is_explained():
    text = (ROOT / "docs" / "options.md").read_text()
    assert [item.name for item in fields(FitSettings) if f"`--{item.name}" not in text] == []


def test_the_rows_of_the_tutorial_are_rows_that_can_be_read(tmp_path, monkeypatch):
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "tutorial.md").read_text(), re.DOTALL)[1]
    times = pd.date_range("2025-01-01", periods=60, freq="20min", tz="UTC")
    numbers = np.random.default_rng(0).normal(100, 1, (60, 2))
    monkeypatch.chdir(tmp_path)
    exec(code, {"bars": pd.DataFrame({"time": times, "close": numbers[:, 0], "volume": numbers[:, 1]})})
    with open_dataset("mine.csv") as data:
        assert (data.rows, len(data.rejected), data.schema.horizons) == (40, 0, 10)
        assert list(data.schema.names) == ["arr_bars"]
        np.testing.assert_allclose(data.read(np.array([0]))["arr_bars"][0], numbers[:20], rtol=1e-6)
        np.testing.assert_allclose(
            data.read_targets(np.array([0]))[0, 0], numbers[20, 0] / numbers[19, 0] - 1, rtol=1e-5
        )


def test_links_in_the_texts_lead_somewhere():
    for page in [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "benchmarks" / "README.md",
        *ROOT.glob("docs/*.md"),
    ]:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
