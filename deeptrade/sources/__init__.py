"""What users bring, as blocks of checked numbers: CSV text, Parquet and HDF5, behind one `Source` protocol.

`kinds` opens any data as the source of its kind, `scan` reads all of its blocks with many workers. `faults` says why a
row is rejected, `kernels` holds the compiled parsers. Where the numbers are kept, and which rows train, is not decided
here: see `store` and `data`.
"""
