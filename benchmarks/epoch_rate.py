"""A warm epoch from a store, in order and shuffled, against a bare numpy gather from the same files and other loaders.

    python benchmarks/epoch_rate.py [--rows 20000] [--batches 4 32 1000]

All features, whole batches, everything in the page cache and checked once, one process each. The peers are those that
are installed: Hugging Face datasets in numpy format (pip install datasets), Grain over ArrayRecord (pip install grain
array_record) and tf.data.from_generator. The last line tells of the windowed shuffle for stores larger than memory: how
far apart the rows of a batch lie against a full permutation, and bytes read (whole pages) over bytes used.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def run_ours(store: str, batch_size: int, shuffle: bool, prefetch: int = 2) -> float:
    from deeptrade import open_store

    with open_store(store) as data:
        reader = data.batches(batch_size=batch_size, split="all", shuffle=shuffle, prefetch=prefetch)
        return best_rate(lambda epoch: sum(len(batch.row_ids) for batch in reader.stream(epoch)))


def run_numpy(store: str, batch_size: int, shuffle: bool) -> float:
    """np.take per file from maps, with a permutation made beforehand."""
    manifest = json.loads((Path(store) / "manifest.json").read_text())
    columns = [c for c in manifest["files"] if c["file"].startswith("feature_") or c["file"] == "targets.f32"]
    maps = [np.memmap(Path(store) / c["file"], "<f4", "r").reshape(-1, *c["shape"]) for c in columns]
    rows = len(maps[0])
    order = np.random.default_rng(0).permutation(rows) if shuffle else np.arange(rows)

    def epoch(number: int) -> int:
        for start in range(0, rows, batch_size):
            for values in maps:
                np.take(values, order[start : start + batch_size], axis=0)
        return rows

    return best_rate(epoch)


def run_datasets(store: str, batch_size: int, shuffle: bool) -> float:
    """Hugging Face datasets: fixed-size arrays, numpy format, its own index for the shuffle."""
    import datasets

    from deeptrade import open_store

    with open_store(store) as data, tempfile.TemporaryDirectory() as folder:
        features = {f"f{n}": shape_of(feature.shape) for n, feature in enumerate(data.schema.features)}
        names = list(features)
        rows = data.rows
        values = list(data.read(np.arange(rows)).values())
        columns = {name: list(array) for name, array in zip(names, values, strict=True)}
        datasets.Dataset.from_dict(columns, features=datasets.Features(features)).save_to_disk(folder)
        table = datasets.load_from_disk(folder).with_format("numpy")
        order = np.random.default_rng(0).permutation(rows) if shuffle else np.arange(rows)

        def epoch(number: int) -> int:
            for start in range(0, rows, batch_size):
                chosen = order[start : start + batch_size]
                batch = table[start : start + batch_size] if not shuffle else table[chosen]
                assert batch[names[0]].shape[0] == len(chosen)
            return rows

        return best_rate(epoch, times=2)


def shape_of(shape: tuple[int, ...]):
    import datasets

    if len(shape) == 2:
        return datasets.Array2D(shape, "float32")
    return datasets.Sequence(datasets.Value("float32"), length=shape[0])


def run_grain(store: str, batch_size: int, shuffle: bool) -> float:
    """Grain over an ArrayRecord of one uncompressed row each; the fastest of its ways to read ahead.

    A row is its float32 bytes, so that decoding is one view per feature.
    """
    import grain
    from array_record.python.array_record_module import ArrayRecordWriter

    from deeptrade import open_store

    with open_store(store) as data, tempfile.TemporaryDirectory() as folder:
        shapes = [feature.shape for feature in data.schema.features] + [(data.schema.horizons,)]
        edges = np.cumsum([0] + [4 * int(np.prod(shape)) for shape in shapes])
        path = str(Path(folder) / "rows.arrayrecord")
        writer = ArrayRecordWriter(path, "group_size:1,uncompressed")
        for row in np.arange(data.rows):
            values = [*data.read(row[None]).values(), data.read_targets(row[None])]
            writer.write(b"".join(value.tobytes() for value in values))
        writer.close()

        def decode(record: bytes) -> tuple[np.ndarray, ...]:
            return tuple(
                np.frombuffer(record, np.float32, (stop - start) // 4, start).reshape(shape)
                for start, stop, shape in zip(edges, edges[1:], shapes, strict=False)
            )

        def epoch(table) -> int:
            return sum(len(batch[0]) for batch in table)

        table = grain.MapDataset.source(grain.sources.ArrayRecordDataSource(path))
        table = (table.shuffle(seed=0) if shuffle else table).map(decode).batch(batch_size)
        ahead = [grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads) for threads in (0, 2, 16)]
        ways = [table.to_iter_dataset(options) for options in ahead]
        ways.append(ways[0].mp_prefetch(grain.MultiprocessingOptions(num_workers=2)))
        return max(best_rate(lambda number, way=way: epoch(way), times=2) for way in ways)


def run_tf_generator(store: str, batch_size: int, shuffle: bool) -> float:
    """tf.data.Dataset.from_generator over rows that lie in maps, batched and prefetched."""
    import tensorflow as tf

    manifest = json.loads((Path(store) / "manifest.json").read_text())
    columns = [c for c in manifest["files"] if c["file"].startswith("feature_") or c["file"] == "targets.f32"]
    maps = [np.memmap(Path(store) / c["file"], "<f4", "r").reshape(-1, *c["shape"]) for c in columns]
    order = np.random.default_rng(0).permutation(len(maps[0])) if shuffle else np.arange(len(maps[0]))
    signature = tuple(tf.TensorSpec(values.shape[1:], tf.float32) for values in maps)
    table = tf.data.Dataset.from_generator(
        lambda: (tuple(values[row] for values in maps) for row in order), output_signature=signature
    )
    table = table.batch(batch_size).prefetch(2)
    return best_rate(lambda number: sum(len(batch[0]) for batch in table), times=2)


def best_rate(epoch, times: int = 4) -> float:
    """Rows per second of the best of some epochs, the first one left out: it warms up."""
    epoch(0)
    rates = []
    for number in range(1, times + 1):
        started = time.perf_counter()
        rows = epoch(number)
        rates.append(rows / (time.perf_counter() - started))
    return max(rates)


KINDS = {
    "deeptrade": run_ours,
    "deeptrade, no read-ahead": functools.partial(run_ours, prefetch=0),
    "bare numpy gather": run_numpy,
    "datasets": run_datasets,
    "grain + array_record": run_grain,
    "tf.data.from_generator": run_tf_generator,
}
NEEDS = {"datasets": "datasets", "grain + array_record": "grain", "tf.data.from_generator": "tensorflow"}


def windowed(store: str) -> dict:
    """Spread inside a batch of 32 and pages read over bytes used, with a tenth of the rows in memory."""
    from deeptrade import open_store
    from deeptrade.data.order import batch_spread, read_amplification

    with open_store(store) as data:
        reader = data.batches(batch_size=32, split="all", window_rows=len(data.usable) // 10)
        order = reader.order(0)
        strides = [4 * feature.size for feature in data.schema.features] + [4 * data.schema.horizons]
        amplification = read_amplification(order, strides, windows=order.windows)
        spread = batch_spread(order, reader.samples, batch_size=32)
        rate = best_rate(lambda epoch: sum(len(batch.row_ids) for batch in reader.stream(epoch)), times=2)
    return {"spread_over_full": spread, "read_amplification": amplification, "rows_per_second": rate}


def in_child(*arguments: object) -> object:
    command = [sys.executable, __file__, "--child", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        kind, store, *rest = sys.argv[2:]
        print(json.dumps(windowed(store) if kind == "windowed" else KINDS[kind](store, int(rest[0]), rest[1] == "1")))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--batches", type=int, nargs="+", default=[4, 32, 1000])
    options = parser.parse_args()
    from deeptrade import compile_store
    from deeptrade.making.synthetic import synthesize

    kinds = [kind for kind in KINDS if kind not in NEEDS or importlib.util.find_spec(NEEDS[kind])]
    with tempfile.TemporaryDirectory() as folder:
        synthesize(Path(folder) / "market.csv", rows=options.rows)
        store = compile_store(Path(folder) / "market.csv")
        (Path(folder) / "market.csv").unlink()
        rates = {
            f"{kind}, batch {size}, {'shuffled' if shuffle else 'in order'}": in_child(kind, store, size, int(shuffle))
            for size in options.batches
            for shuffle in (True, False)
            for kind in kinds
        }
        window = in_child("windowed", store)
    print(json.dumps({"benchmark": "epoch_rate", "rows": options.rows, "rates": rates, "windowed": window}))
    print(f"{'rows/s':34}" + "".join(f"{f'batch {size}':>20}" for size in options.batches))
    for shuffle in ("shuffled", "in order"):
        for kind in kinds:
            line = f"{kind + ', ' + shuffle:34}"
            for size in options.batches:
                ours, rate = (rates[f"{name}, batch {size}, {shuffle}"] for name in ("deeptrade", kind))
                line += f"{rate:>12,.0f} ({ours / rate:.2f})"
            print(line)
    print("(in brackets: deeptrade's rate over this one; read-ahead pays where the consumer computes meanwhile)")
    print(
        f"windowed, a tenth in memory, batch 32: {window['rows_per_second']:,.0f} rows/s, spread inside a batch "
        f"{window['spread_over_full']:.3f} of a full permutation's, {window['read_amplification']:.3f} bytes read per "
        f"byte used"
    )


if __name__ == "__main__":
    main()
