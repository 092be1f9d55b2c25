"""`python fitter.py OPTIONS` is `deeptrade fit OPTIONS`: the original DeepTrade's command."""

import sys

from deeptrade.cli import main

if __name__ == "__main__":
    sys.exit(main(["fit", *sys.argv[1:]]))
