"""Whether a walk that was begun may go on with the settings of now, and what differs where it may not."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields, replace
from typing import Any

from ..data.dataset import Dataset
from ..errors import RunConflictError
from ..run_folder import WalkFolder
from ..settings import BEFORE, MATHS, FitSettings
from .folds import Walk
from .walk_settings import LENGTH, OWN

BATCH = ("batch_size", "grad_accum", "accum_steps")


def continued(
    before: dict[str, Any], now: Walk, data: Dataset, folder: WalkFolder, *, given: Collection[str]
) -> FitSettings:
    """Return the settings with which a walk goes on; RunConflictError naming the difference where it is another one.

    before: the content of its walk.json. Epochs and steps may grow, unless folds begin with the weights of earlier
    ones; a batch size that was not given stays what it was, for a rule may choose differently on another day.
    """
    advice = "give another --out, or --fresh to start over"
    hashes = before.get("content_hash"), data.content_hash
    if before["data_id"] not in (data.data_id, *data.former_data_ids) or (all(hashes) and hashes[0] != hashes[1]):
        raise RunConflictError(f"{folder.folder} holds a walk over other data; {advice}")
    earlier, settings = Walk.from_json(before), now.settings
    kept = {name: getattr(earlier.settings, name) for name in BEFORE if name not in given}
    settings = replace(settings, **kept)
    if not set(BATCH) & set(given):
        settings = replace(settings, **{name: getattr(earlier.settings, name) for name in BATCH})
    grows = () if now.options.warm_start else ("epochs", "max_steps")
    names = dict.fromkeys((*MATHS, *BATCH, *LENGTH))
    pairs: list[tuple[str, Any, Any]] = [(item.name, earlier.options, now.options) for item in fields(now.options)]
    pairs += [(name, earlier.settings, settings) for name in names if name not in OWN]
    for name, *both in pairs:
        was, is_now = (getattr(one, name) for one in both)
        if was != is_now and not (name in grows and _is_longer(was, is_now)):
            more = "; it may only grow" if name in grows else ""
            raise RunConflictError(
                f"{folder.folder} holds a walk with {name}={was!r}, given {is_now!r}{more}; {advice}"
            )
    return settings


def _is_longer(was: int, now: int) -> bool:
    """Whether a number of epochs or steps is larger; 0 is without limit."""
    return was > 0 and (now > was or now == 0)
