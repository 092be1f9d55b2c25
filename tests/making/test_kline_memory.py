import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.kline_origins import archive, make_bars

SHARED = Path(__file__).parents[3] / "shared" / "data"
MOST_BYTES = 250 << 20
BUILD = """
import sys
from deeptrade.making.klines import build
from deeptrade.memory import MemoryMonitor

with MemoryMonitor(interval_seconds=0.02) as monitor:
    build(sys.argv[2:], out=sys.argv[1])
print(monitor.peak_anon_bytes)
"""


def peak_bytes(out, paths):
    command = [sys.executable, "-c", BUILD, str(out), *map(str, paths)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_a_long_history_is_never_held_as_text(tmp_path):
    bars = make_bars(60_000, 15)
    (tmp_path / "k.csv").write_text(archive(bars))
    del bars
    assert 0 < peak_bytes(tmp_path / "rows.csv", [tmp_path / "k.csv"]) < MOST_BYTES


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.exists(), reason="the folder of real market data is absent")
@pytest.mark.parametrize("files", ["binance_spot_BTCUSDT-15m_*.csv.gz", "binance_um_NEARUSDT-1m-*.csv.gz"])
def test_real_histories_are_built_within_250_mebibytes(tmp_path, files):
    assert 0 < peak_bytes(tmp_path / "rows.csv", sorted(SHARED.glob(files))) < MOST_BYTES
