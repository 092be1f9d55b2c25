"""`python fitter.py OPTIONS` is `deeptrade fit OPTIONS`: the original DeepTrade's command."""

import sys

sys.path.append(sys.path.pop(0))  # this folder last, so that a user's random.py does not stand in for Python's own

from deeptrade.cli import main

if __name__ == "__main__":
    sys.exit(main(["fit", *sys.argv[1:]]))
