"""`deeptrade` with rows that some workers find harmed: HARMED is JSON, by row number 'unreadable' or 'infinite'.

SLOW_LOOK is a file that is made when worker 0 looks at the inner rows, which then takes ten seconds longer.

python -m tests.support.harmed_fit fit OPTIONS
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np

from deeptrade.cli import main
from deeptrade.commands import fit
from deeptrade.data.dataset import Dataset
from deeptrade.errors import DataError

HARMED = {int(row): how for row, how in json.loads(os.environ.get("HARMED", "{}")).items()}
read, read_targets = Dataset.read, Dataset.read_targets


def harmed(self, row_ids, features=None):
    for row in row_ids.tolist():
        if HARMED.get(row) == "unreadable":
            raise DataError(f"row {row} is damaged")
    return read(self, row_ids, features)


def harmed_targets(self, row_ids):
    targets = read_targets(self, row_ids)
    if len(row_ids) < 10:  # a pass, not the whole file that the unit of errors comes from
        for row in row_ids.tolist():
            if HARMED.get(row) == "infinite":
                targets[row_ids == row] = np.float32(3e38)
    return targets


def slow_look(file):
    from deeptrade.training.choosing import Choice

    plain = Choice.end_epoch

    def look(self, state, stop):
        file.touch()
        for _ in range(100):
            time.sleep(0.1)
            if stop.signal_number:
                break
        return plain(self, state, stop)

    Choice.end_epoch = look


if __name__ == "__main__":
    if os.environ.get("SLOW_LOOK"):
        slow_look(Path(os.environ["SLOW_LOOK"]))
    Dataset.read, Dataset.read_targets = harmed, harmed_targets
    fit.PROGRAM = "tests.support.harmed_fit"
    sys.exit(main())
