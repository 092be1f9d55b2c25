"""One file per command of the command line: its options beside what runs it.

`deeptrade.cli` makes one parser of them. `limited_fit` is the process that a trial of `optimize` starts.
"""
