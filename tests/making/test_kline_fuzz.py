"""Mutated files of klines: rows with an exact ledger, or one line; never a traceback, a warning, or half a file."""

import csv
import gzip
import io
import json
import warnings

import numpy as np
import pandas as pd
import pytest

from deeptrade.errors import DeepTradeError
from deeptrade.making.klines import Build, build
from tests.support.kline_origins import ARCHIVE, archive, make_bars

LAYOUT = {"timeframes": ("5min", "15min"), "step": "15min", "horizons": 2, "window": 5}
CELLS = (
    "",
    "x",
    "nan",
    "inf",
    "-1",
    "0",
    "1e400",
    "1,5",
    '"',
    "1970-01-01",
    "9" * 30,
    "\x00",
    "é",
    "None",
    "True",
    "[1]",
    "1e-5",
)


def mutated_text(generator, bars) -> bytes:
    width = int(generator.choice([6, 12]))
    lines = archive(bars, width=width, header=",".join(ARCHIVE.split(",")[:width])).splitlines()
    if generator.random() < 0.3:
        lines = lines[1:]
    for _ in range(int(generator.integers(1, 4))):
        row = int(generator.integers(len(lines)))
        cells = lines[row].split(",")
        kind = generator.integers(10)
        if kind < 4:
            cells[int(generator.integers(len(cells)))] = str(generator.choice(CELLS))
            lines[row] = ",".join(cells)
        elif kind == 4:
            lines[row] = lines[row][: int(generator.integers(len(lines[row])))]
        elif kind == 5:
            lines.insert(int(generator.integers(len(lines))), lines[row])
        elif kind == 6:
            lines.insert(
                row, str(generator.choice(["", "# note", "a,b,c", ",,,,,", "open_time,open,high,low,close,volume"]))
            )
        elif kind == 7:
            one, other = generator.choice(min(6, len(cells)), 2, replace=False)
            swapped = [line.split(",") for line in lines]
            for cells in swapped:
                if max(one, other) < len(cells):
                    cells[one], cells[other] = cells[other], cells[one]
            lines = [",".join(cells) for cells in swapped]
        elif kind == 8:
            del lines[row : row + int(generator.integers(1, 30))]
        else:
            lines[row] += str(generator.choice([",", ",1", ",,", " ", ";"]))
        lines = lines or [""]
    separator = str(generator.choice([",", ",", ",", ";", "\t"]))
    content = "\n".join(lines).replace(",", separator).encode()
    if generator.random() < 0.1:
        place = int(generator.integers(len(content)))
        content = content[:place] + bytes(generator.integers(0, 256, 3, dtype=np.uint8)) + content[place:]
    if generator.random() < 0.2:
        content = gzip.compress(content)
        content = content[: int(generator.integers(len(content)))] if generator.random() < 0.5 else content
    return content


def mutated_json(generator, bars) -> bytes:
    rows = [list(row) for row in bars[["ms", "open", "high", "low", "close", "volume"]].itertuples(index=False)]
    row = rows[int(generator.integers(len(rows)))]
    odd = [None, "x", "", [1], {}, True, -1, float("nan"), float("inf"), 10**30]
    row[int(generator.integers(6))] = odd[int(generator.integers(len(odd)))]
    if generator.random() < 0.3:
        row.append(1)
    content = json.dumps(rows if generator.random() < 0.7 else {"data": rows}).encode()
    return content[: int(generator.integers(len(content)))] if generator.random() < 0.2 else content


def mutated_table(generator, bars) -> bytes:
    table = bars[["time", "open", "high", "low", "close", "volume"]].copy()
    name = str(generator.choice(table.columns))
    kind = generator.integers(5)
    if kind == 0:
        table[name] = table[name].astype(str)
    elif kind == 1:
        table.loc[int(generator.integers(len(table))), name] = pd.NaT if name == "time" else np.nan
    elif kind == 2:
        table[name] = [[1.0]] * len(table)
    elif kind == 3:
        table = table.drop(columns=name)
    else:
        table = table.set_index(name)
    content = io.BytesIO()
    table.to_parquet(content)
    raw = bytearray(content.getvalue())
    if generator.random() < 0.3:
        raw[int(generator.integers(len(raw)))] ^= 255
    return bytes(raw)


def outcome_of(path, out) -> Build | DeepTradeError:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return build([path], out=out, duplicates="last", **LAYOUT)
        except DeepTradeError as error:
            return error


@pytest.mark.parametrize("seed", range(120))
def test_a_mutated_file_gives_rows_with_an_exact_ledger_or_one_line(tmp_path, seed):
    generator = np.random.default_rng(seed)
    bars = make_bars(300, seed=seed % 5)
    mutate = (mutated_text, mutated_text, mutated_json, mutated_table)[seed % 4]
    path = tmp_path / "k.data"
    path.write_bytes(mutate(generator, bars))
    result = outcome_of(path, tmp_path / "rows.csv")
    if isinstance(result, DeepTradeError):
        assert "\n" not in str(result)
        assert 20 < len(str(result)) < 600
        assert [left.name for left in tmp_path.iterdir()] == ["k.data"]
        return
    assert sorted(left.name for left in tmp_path.iterdir()) == ["k.data", "rows.csv", "rows.ledger.csv"]
    with open(tmp_path / "rows.ledger.csv", newline="") as file:
        reasons = [entry["reason"] for entry in csv.DictReader(file)]
    assert reasons.count("bad_bar") == result.bad
    assert reasons.count("duplicate_bar") == result.repeated
    assert reasons.count("gap") == result.gaps
    assert (tmp_path / "rows.csv").read_bytes().count(b"\n") == result.rows + 1
    assert result.bars <= 330
