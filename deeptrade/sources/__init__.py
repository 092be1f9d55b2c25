"""User data as blocks of checked numbers: CSV text, Parquet and HDF5, behind one `Source` protocol.

`protocol` defines what a source offers, `kinds` opens any data as the right kind of source, `scan` reads all its blocks
with many workers. `faults` says why a row is rejected, `kernels` holds the compiled parsers. Where the numbers are
stored, and which rows train, is decided in `store` and `data`.
"""
