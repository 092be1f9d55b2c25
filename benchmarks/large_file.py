"""A file larger than memory is meant for: from text to a shuffled epoch and to a model, against what else survives it.

    python benchmarks/large_file.py [--gigabytes 6.4] [--peers pandas npy datasets grain]

First loading. One row per way: seconds to make the text ready, seconds of one shuffled epoch at batch 32, rows per
second, and the highest anonymous memory of each step's processes, looked at 200 times a second from outside. Every step
is a fresh process, ours run three times (median seconds, highest peak); the text lies in the page cache. DeepTrade runs
on a tenth of the file too, to show that its memory does not follow the size. Ours checks every block in its first
epoch; no peer has checksums.

Then training: one epoch of `small` with the multiscale encoder, 32 rows a step, from the text to the model. Ours is
`deeptrade fit` as a user calls it: checks, split, validation and files of the run included. The peer that survives is
npy, whose batches go to the same network in plain Keras, traced once, and in PyTorch, compiled, where it is installed
(torch_peer.py).

pandas: read_csv, json.loads, float32 arrays in memory. npy: csv and orjson into flat files by hand, gathered with
numpy.take. datasets: the same rows into Arrow, numpy format. grain: the same rows into an uncompressed ArrayRecord.
Needs orjson, and datasets, grain and array_record for the last two; what is not installed is left out.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil

BATCH = 32
TARGET_SCALE = 0.01
"""Roughly the size of the returns: the unit of the peers' loss, so that it learns at the same rate."""


def make_deeptrade(text: Path, made: Path) -> None:
    from deeptrade import compile_store

    compile_store(text, store=made)


def epoch_deeptrade(text: Path, made: Path) -> int:
    from deeptrade import open_store

    with open_store(made) as data:
        return sum(len(b.row_ids) for b in data.batches(batch_size=BATCH, split="all").stream(0))


def rows_of(text: Path, loads) -> Iterator[dict[str, np.ndarray]]:
    """Rows by csv and a JSON library: float32 arrays by column, targets as 'targets'."""
    csv.field_size_limit(1 << 30)
    with open(text, newline="", encoding="utf-8") as file:
        for cells in csv.DictReader(file):
            row = {name: np.asarray(loads(cell), np.float32) for name, cell in cells.items() if name[:4] == "arr_"}
            row["targets"] = np.array([float(cell) for name, cell in cells.items() if name[:2] == "y_"], np.float32)
            yield row


def orjson_rows(text: Path) -> Iterator[dict[str, np.ndarray]]:
    import orjson

    return rows_of(text, orjson.loads)


def make_npy(text: Path, made: Path) -> None:
    made.mkdir()
    files: dict[str, object] = {}
    for row in orjson_rows(text):
        for name, values in row.items():
            if name not in files:
                files[name] = open(made / f"{name}.f32", "wb")  # noqa: SIM115
                (made / f"{name}.json").write_text(json.dumps(values.shape))
            values.tofile(files[name])  # type: ignore[arg-type]
    for file in files.values():
        file.close()  # type: ignore[attr-defined]


def epoch_npy(text: Path, made: Path) -> int:
    shapes = {path.stem: json.loads(path.read_text()) for path in sorted(made.glob("*.json"))}
    maps = [np.memmap(made / f"{name}.f32", np.float32, "r").reshape(-1, *shape) for name, shape in shapes.items()]
    return gather(maps)


def gather(arrays: list[np.ndarray]) -> int:
    order = np.random.default_rng(0).permutation(len(arrays[0]))
    for start in range(0, len(order), BATCH):
        batch = [np.take(values, order[start : start + BATCH], axis=0) for values in arrays]
        assert len(batch[0])
    return len(order)


def train_deeptrade(text: Path, made: Path) -> int:
    out = made.with_suffix(".run")
    options = {"csv": text, "store": made, "out": out, "model_size": "small", "batch_size": BATCH}
    options["encoder"] = "multiscale"
    command = [sys.executable, "-m", "deeptrade", "fit", "--skip_rl", *(f"--{k}={v}" for k, v in options.items())]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    rows = json.loads((out / "result.json").read_text())["rows"]["trained"]
    shutil.rmtree(out)
    return rows


def npy_batches(made: Path) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
    shapes = {path.stem: json.loads(path.read_text()) for path in sorted(made.glob("*.json"))}
    shapes = {name: shape[1:] if shape[0] == 1 and len(shape) > 1 else shape for name, shape in shapes.items()}
    maps = {name: np.memmap(made / f"{name}.f32", np.float32, "r").reshape(-1, *one) for name, one in shapes.items()}
    order = np.random.default_rng(0).permutation(len(maps["targets"]))
    for start in range(0, len(order) // BATCH * BATCH, BATCH):
        batch = {name: np.take(one, order[start : start + BATCH], axis=0) for name, one in maps.items()}
        targets = batch.pop("targets")
        yield batch, targets / TARGET_SCALE


def train_keras(text: Path, made: Path) -> int:
    import keras
    from step_time import make_model, plain_step

    rows, step = 0, plain_step(make_model("small", "multiscale"), keras.optimizers.Adam(1e-3))
    for x, y in npy_batches(made):
        rows += BATCH
        step(x, y)
    return rows


def train_torch(text: Path, made: Path) -> int:
    start = made / "start.npz"
    dump = "import sys, step_time; step_time.save_start(sys.argv[1], 'small')"
    subprocess.run([sys.executable, "-c", dump, str(start)], check=True, cwd=Path(__file__).parent)
    from torch_peer import Peer, schema_of

    with np.load(start) as archive:
        given = dict(archive)
    rows, peer = 0, Peer(schema_of(given), "small", given, compiled=True, threads=2)
    for x, y in npy_batches(made):
        rows += BATCH
        peer.step(x, y)
    return rows


def epoch_pandas(text: Path, made: Path) -> int:
    """Read, parse and one epoch in one process: the arrays live nowhere else."""
    import pandas as pd

    table = pd.read_csv(text)
    names = [name for name in table.columns if name.startswith("arr_")]
    arrays = [np.stack([np.asarray(json.loads(cell), np.float32) for cell in table.pop(name)]) for name in names]
    arrays.append(table.filter(like="y_").to_numpy(np.float32))
    return gather(arrays)


def make_datasets(text: Path, made: Path) -> None:
    import datasets

    first = next(orjson_rows(text))
    kinds = {
        name: datasets.Array3D(values.shape, "float32")
        if values.ndim == 3
        else datasets.Array2D(values.shape, "float32")
        if values.ndim == 2
        else datasets.Sequence(datasets.Value("float32"), length=len(values))
        for name, values in first.items()
    }
    table = datasets.Dataset.from_generator(
        orjson_rows, gen_kwargs={"text": text}, features=datasets.Features(kinds), cache_dir=str(made) + ".cache"
    )
    table.save_to_disk(made)


def epoch_datasets(text: Path, made: Path) -> int:
    import datasets

    table = datasets.load_from_disk(made).with_format("numpy")
    order = np.random.default_rng(0).permutation(len(table))
    for start in range(0, len(order), BATCH):
        assert table[order[start : start + BATCH]]
    return len(order)


def make_grain(text: Path, made: Path) -> None:
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(made), "group_size:1,uncompressed")
    for number, row in enumerate(orjson_rows(text)):
        if not number:
            made.with_suffix(".json").write_text(json.dumps([values.shape for values in row.values()]))
        writer.write(b"".join(values.tobytes() for values in row.values()))
    writer.close()


def epoch_grain(text: Path, made: Path) -> int:
    import grain

    shapes = json.loads(made.with_suffix(".json").read_text())
    edges = np.cumsum([0] + [4 * int(np.prod(shape)) for shape in shapes])

    def decode(record: bytes) -> tuple[np.ndarray, ...]:
        return tuple(
            np.frombuffer(record, np.float32, (stop - start) // 4, start).reshape(shape)
            for start, stop, shape in zip(edges, edges[1:], shapes, strict=False)
        )

    table = grain.MapDataset.source(grain.sources.ArrayRecordDataSource(str(made)))
    table = table.shuffle(seed=0).map(decode).batch(BATCH)
    return sum(len(batch[0]) for batch in table.to_iter_dataset(grain.ReadOptions(num_threads=0)))


WAYS = {
    "deeptrade": {"make": make_deeptrade, "epoch": epoch_deeptrade, "train": train_deeptrade},
    "pandas": {"epoch": epoch_pandas},
    "npy": {"make": make_npy, "epoch": epoch_npy, "train": train_keras, "train_torch": train_torch},
    "datasets": {"make": make_datasets, "epoch": epoch_datasets},
    "grain": {"make": make_grain, "epoch": epoch_grain},
}
NEEDS = {"npy": ["orjson"], "datasets": ["orjson", "datasets"], "grain": ["orjson", "grain", "array_record"]}


def in_child(way: str, step: str, text: Path, made: Path) -> dict:
    """Run one step in a fresh process: seconds of the work, rows, peak anonymous bytes of it and its children."""
    command = [sys.executable, __file__, "--child", way, step, str(text), str(made)]
    peak = looks = 0
    children: list[psutil.Process] = []
    with (
        tempfile.TemporaryFile("w+") as said,  # a pipe that nobody reads would fill up and stop the child
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True) as process,
    ):
        while process.poll() is None:
            if looks % 100 == 0:
                with suppress(psutil.Error):
                    children = psutil.Process(process.pid).children(recursive=True)
            peak = max(peak, anonymous_bytes([process.pid, *(child.pid for child in children)]))
            looks += 1
            time.sleep(0.005)
        out, _ = process.communicate()
        said.seek(0)
        errors = said.read()
    if process.returncode:
        return {"died": errors.strip().splitlines()[-1:] or [f"signal {-process.returncode}"], "peak_anon_bytes": peak}
    return json.loads(out.splitlines()[-1]) | {"peak_anon_bytes": peak}


def anonymous_bytes(pids: list[int]) -> int:
    total = 0
    for pid in pids:
        with suppress(OSError):
            status = Path(f"/proc/{pid}/status").read_text()
            total += int(status.partition("RssAnon:")[2].split()[0] if "RssAnon:" in status else 0) << 10
    return total


def child(way: str, step: str, text: str, made: str) -> None:
    started = time.perf_counter()
    rows = WAYS[way][step](Path(text), Path(made))
    print(json.dumps({"seconds": time.perf_counter() - started, "rows": rows}))


def measure(way: str, text: Path, folder: Path) -> dict:
    """Every step once; ours three times: the median of the seconds, the highest of the peaks."""
    made = folder / f"{way}-{text.stem}"
    steps = [step for step in WAYS[way] if step != "train_torch" or importlib.util.find_spec("torch")]
    runs = []
    for _ in range(3 if way == "deeptrade" else 1):
        runs.append({})
        for step in steps:
            if (way, step) == ("deeptrade", "train"):
                shutil.rmtree(made)  # fit begins with the text
            runs[-1][step] = in_child(way, step, text, made)
        subprocess.run(["rm", "-rf", made, f"{made}.cache", made.with_suffix(".json")], check=True)
    found = {}
    for step in steps:
        by_time = sorted((run[step] for run in runs), key=lambda result: result.get("seconds", 0))
        found[step] = by_time[len(runs) // 2] | {"peak_anon_bytes": max(r["peak_anon_bytes"] for r in by_time)}
    return found


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=6.4)
    parser.add_argument("--peers", nargs="*", choices=list(WAYS)[1:], default=list(WAYS)[1:])
    options = parser.parse_args()
    from deeptrade.making.synthetic import synthesize

    peers = [p for p in options.peers if all(importlib.util.find_spec(need) for need in NEEDS.get(p, []))]
    results = {}
    with tempfile.TemporaryDirectory() as name:
        folder, rows = Path(name), round(options.gigabytes * 1e9 / 108_800)
        for label, count in (("a tenth", rows // 10), ("whole", rows)):
            text = folder / f"{label.replace(' ', '-')}.csv"
            synthesize(text, rows=count)
            for way in ["deeptrade"] if label == "a tenth" else ["deeptrade", *peers]:
                subprocess.run(["cat", text], stdout=subprocess.DEVNULL, check=True)
                results[f"{way}, {label}"] = measure(way, text, folder) | {"bytes": text.stat().st_size}
                print(f"{way}, {label}: {results[f'{way}, {label}']}", file=sys.stderr)
            text.unlink()
    print(json.dumps({"benchmark": "large_file", "batch_size": BATCH, "results": results}))
    print(f"{'':24}{'GB':>6}{'ready, s':>10}{'peak MiB':>10}{'epoch, s':>10}{'rows/s':>10}{'peak MiB':>10}")
    for label, found in results.items():
        line = f"{label:24}{found['bytes'] / 1e9:>6.2f}"
        made, epoch = found.get("make", {}), found["epoch"]
        line += f"{made['seconds']:>10.1f}{made['peak_anon_bytes'] / 2**20:>10.0f}" if "seconds" in made else " " * 20
        if "seconds" in epoch:
            line += f"{epoch['seconds']:>10.1f}{epoch['rows'] / epoch['seconds']:>10,.0f}"
        else:
            line += f"{'died':>10}{'':>10}"
        print(line + f"{epoch['peak_anon_bytes'] / 2**20:>10.0f}")
    print(f"{'text to model':24}{'seconds':>10}{'rows/s':>10}{'peak MiB':>10}")
    for label, found in results.items():
        for step in ("train", "train_torch"):
            if "seconds" in found.get(step, {}):
                kind = {"train": "plain Keras", "train_torch": "PyTorch"}[step] if "npy" in label else "fit"
                before = found["make"]["seconds"] if "npy" in label else 0.0
                seconds, rows = before + found[step]["seconds"], found[step]["rows"]
                peak = found[step]["peak_anon_bytes"] / 2**20
                print(f"{label + ', ' + kind:36}{seconds:>10.1f}{rows / seconds:>10,.0f}{peak:>10.0f}")
    small, large = results["deeptrade, a tenth"], results["deeptrade, whole"]
    for step, word in (("make", "compile"), ("epoch", "an epoch")):
        ratio = large[step]["peak_anon_bytes"] / small[step]["peak_anon_bytes"]
        print(f"peak of {word} on the whole file over its peak on a tenth: {ratio:.3f}")


if __name__ == "__main__":
    main()
