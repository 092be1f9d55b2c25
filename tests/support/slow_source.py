"""`deeptrade fit` on data that arrives slowly: SECONDS between two of its small blocks, WINDOW rows in a window."""

import os
import sys
import time

from deeptrade.cli import main
from deeptrade.sources import csv as csv_module
from deeptrade.store.growing import GrowingStore
from deeptrade.training import arriving

note = GrowingStore._note


def note_slowly(self, folder, records):
    time.sleep(float(os.environ["SECONDS"]))
    note(self, folder, records)


if __name__ == "__main__":
    csv_module.BLOCK_BYTES, arriving.WINDOW_ROWS = 4096, int(os.environ["WINDOW"])
    GrowingStore._note = note_slowly
    sys.exit(main(sys.argv[1:]))
