"""Compare several runs: which settings differ, the outcome, memory and speed of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..files import friendly_os_errors, user_path, write_json
from ..judging.backtests import Backtests
from ..judging.contest import Contest
from ..memory.timeline import thinned
from ..run_folder import RunFolder, WalkFolder, meant_run
from ..units import count_of, format_bytes
from .candidates import BestOfMany, rank
from .findings.comparison import RunSummary, SettingSummary, beside_zero, most_accurate, settings_of, validated
from .findings.training import validation_errors
from .run_files import RunFiles
from .same_steps import SameSteps, find_same_steps

_POINTS = 300
"""Samples of a timeline, and steps of a run, that are kept."""

_SAME = {"csv", "out", "store", "plan", "hardware", "fresh"}
"""Settings that do not affect how a run went."""


@dataclass(frozen=True)
class Comparison:
    """Runs in the order given, the settings in which they differ, and pairs that should take the same steps.

    `settings` are the validated runs with seeds of one setting taken together; `contest` says which of those can be
    told apart, `best` whether the best has evidence of skill, `backtests` what trading on them would have earned. None
    where the runs have not been judged on the same rows.
    """

    runs: list[RunSummary]
    differing: list[str]
    same_steps: list[SameSteps]
    settings: list[SettingSummary] = field(default_factory=list)
    contest: Contest | None = None
    best: BestOfMany | None = None
    backtests: Backtests | None = None

    @property
    def on_same_rows(self) -> bool:
        """Whether all runs with validation results were judged on the same rows."""
        return len({run.judged_on for run in validated(self.runs)}) < 2

    @property
    def verdict(self) -> str:
        """Return some sentences: how many runs, who can be told apart, the lowest error, and its evidence of skill."""
        scored = validated(self.runs)
        found = [f"{count_of(len(self.runs), 'run')}, {len(scored)} with validation results"]
        if any(len(one.runs) > 1 for one in self.settings):
            found[0] += f", {count_of(len(self.settings), 'setting')} apart from the seed"
        found[0] += "."
        best = most_accurate(self.settings)
        if best is None:
            return f"{found[0]} There is nothing to compare yet."
        if not self.on_same_rows:
            return f"{found[0]} They were judged on different rows, so they are not ranked."
        if self.contest is not None:
            found.append(self.contest.verdict)
        elif len(self.settings) > 1:
            found.append("Whether they can be told apart is not known: deeptrade evaluate judges each, on enough rows.")
        found.append(self.best.sentences(len(scored)) if self.best is not None else self._lowest(best))
        return " ".join(found)

    def _lowest(self, best: SettingSummary) -> str:
        peaks = [run.peak_anon_bytes for run in self.runs if run.name in best.runs and run.peak_anon_bytes]
        peak = f", with a peak of {format_bytes(max(peaks))}" if peaks else ""
        return f"The lowest validation error is that of {best.name}: {beside_zero(best.error.mean)}{peak}."


def compare_runs(folders: Sequence[str | Path], *, out: str | Path | None = None) -> Comparison:
    """Return a comparison of the runs in folders; each folder is a run, or holds runs one level below it.

    With `out`, the comparison is also written to out/comparison.json.

    Raises DataError for a folder that does not exist or holds no run.
    """
    folder = None if out is None else user_path(out)
    paths = find_runs(folders)
    found = {name: RunFiles(path) for name, path in zip(_short_names(paths), paths, strict=True)}
    runs = [_summary(name, files) for name, files in found.items()]
    differing = _differing(runs)
    settings = settings_of(runs, differing)
    comparison = Comparison(runs, differing, find_same_steps(found), settings)
    if comparison.on_same_rows:
        ranked = rank(settings, found)
        comparison = replace(comparison, contest=ranked.contest, best=ranked.best, backtests=ranked.backtests)
    if folder is not None:
        write_json(
            RunFolder(folder).comparison, {"schema_version": 1, "verdict": comparison.verdict, **asdict(comparison)}
        )
    return comparison


def find_runs(folders: Sequence[str | Path]) -> list[Path]:
    """Return the folders of the runs in `folders`; raise DataError for one that does not exist or holds no run."""
    return [path for folder in folders for path in _runs_in(user_path(folder))]


def _runs_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(
            f"{folder} is not a folder; {meant_run(folder)}give the --out folder of a run, or a folder of runs"
        )
    if WalkFolder(folder).state.exists():
        folds = WalkFolder(folder).folds
        raise DataError(f"{folder} holds a walk, which is judged as a whole; give runs, or the folds in {folds}")
    if _is_run(folder):
        return [folder]
    with friendly_os_errors(f"looking for runs in {folder}"):
        below = sorted(path for path in folder.iterdir() if path.is_dir() and _is_run(path))
    if not below:
        raise DataError(
            f"{folder} holds no run, nor does any folder in it; give the --out folder of a run, or a folder of runs"
        )
    return below


def _is_run(folder: Path) -> bool:
    return RunFolder(folder).is_run()


def _short_names(paths: Sequence[Path]) -> list[str]:
    """Return the last part of each path, with its parent where two would be the same."""
    names = [path.resolve().name for path in paths]
    return [
        name if names.count(name) == 1 else f"{path.resolve().parent.name}/{name}"
        for path, name in zip(paths, names, strict=True)
    ]


def _summary(name: str, found: RunFiles) -> RunSummary:
    result, timeline = found.result, _timeline(found)
    if result is None:
        return RunSummary(name, _status(found), {}, timeline=timeline)
    errors = validation_errors(result)
    memory, seconds = result["memory"], result["time"]["step_seconds_median"]
    return RunSummary(
        name=name,
        status=_status(found),
        settings={key: value for key, value in result["settings"].items() if key not in _SAME},
        error=errors.mean_ratio if errors.known else None,
        rank_ic=_mean_rank_ic(found),
        horizons_beaten=errors.better if errors.known else None,
        horizons=errors.known or None,
        judged_on=_judged_on(result),
        steps=result["steps"],
        peak_anon_bytes=memory["peak_anon_bytes"],
        limit_bytes=memory["limit_bytes"],
        rows_per_second=result["effective_batch"] / seconds if seconds else None,
        wall_seconds=result["time"]["wall_seconds"],
        weights_sha256=result["weights_sha256"] or "",
        timeline=timeline,
        losses=_losses(found, result["effective_batch"]),
    )


def _mean_rank_ic(found: RunFiles) -> float | None:
    known = [one.value for one in found.judged.of("rank_ic") if one.value is not None]
    return sum(known) / len(known) if known else None


def _judged_on(result: Mapping[str, Any]) -> str:
    """Return what tells the rows that a run was judged on from others."""
    settings = result["settings"]
    named = [settings.get(name, "") for name in ("val_ratio", "embargo", "target_step", "markets", "max_rows")]
    return str([result["data_id"], result.get("judged_rows") or named])


def _timeline(found: RunFiles) -> tuple[tuple[float, int], ...]:
    last = [sample for sample in found.samples if sample.run == found.samples[-1].run]
    return tuple((sample.seconds, sample.anon_bytes) for sample in thinned(last, _POINTS))


def _losses(found: RunFiles, effective_batch: int) -> tuple[tuple[int, float], ...]:
    """Return (rows trained, running median of the loss) of evenly spaced steps."""
    if not len(found.history):
        return ()
    history = found.history[["step", "loss"]].astype(float).dropna()
    every = max(1, -(-len(history) // _POINTS))
    smooth = history["loss"].rolling(max(every, len(history) // 20), min_periods=1).median()
    chosen = zip(history["step"].iloc[every - 1 :: every], smooth.iloc[every - 1 :: every], strict=True)
    return tuple((int(step) * effective_batch, float(loss)) for step, loss in chosen)


def _status(found: RunFiles) -> str:
    """Return the status of a run: completed, still going, stopped, killed, not trained, or failed with the reason."""
    notebooks = (found.run or {}).get("notebooks", {})
    failed = next((item["error"] for item in notebooks.values() if item["status"] == "failed"), "")
    if failed:
        return f"failed: {failed}"
    if found.running:
        return "still going"
    status = (found.result or {}).get("status")
    if status == "failed":
        return f"failed: {' '.join(found.result['warnings'][-1:])}" if found.result else "failed"
    if status == "interrupted":
        return "stopped"
    return "completed" if status == "completed" else "killed" if found.samples else "not trained"


def _differing(runs: Sequence[RunSummary]) -> list[str]:
    known = [run.settings for run in runs if run.settings]
    names = dict.fromkeys(name for settings in known for name in settings)
    return [name for name in names if len({str(settings.get(name)) for settings in known}) > 1]
