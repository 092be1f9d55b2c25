"""Ray Train as what places workers and starts them again: the example of docs/workers.md, where Ray is installed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.markets import make_market
from tests.support.training_runs import comparable
from tests.support.workers import end, start

pytest.importorskip("ray.train")

PAGE = Path(__file__).parents[2] / "docs" / "workers.md"
SETTINGS = {"model_size": "tiny", "features": "arr_ctx", "grad_accum": True, "accum_steps": 4, "skip_rl": True}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_example_of_the_page_ends_with_the_bytes_of_one_process(tmp_path):
    market = make_market(tmp_path / "market.csv", rows=80)
    end(start(market, tmp_path / "alone", SETTINGS))
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]
    code = code.replace("/shared/market.csv", str(market.path)).replace("/shared/runs/market", str(tmp_path / "run"))
    code = code.replace('"small"', '"tiny", features="arr_ctx"').replace("accum_steps=16", "accum_steps=4")
    code = "import ray\nray.init(num_cpus=4, include_dashboard=False)\n" + code  # a place more than workers
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=1200, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert comparable(tmp_path / "run") == comparable(tmp_path / "alone")
    assert len(json.loads((tmp_path / "run" / "result.json").read_text())["workers"]) == 2
