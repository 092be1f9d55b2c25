"""Files of our layout, made here: from klines of any origin (`klines`), or simulated (`synthetic`).

For commands `build` and `synth`. A file of klines goes through `kline_files` (any kind of file to columns, by
`kline_text` and `kline_tables`), `kline_columns` (which column is what), `kline_times`, `kline_law` (what a bar is),
`kline_reading` (one file) and `kline_series` (many files to one series per market, see `market_names`). `bars` holds a
series and makes coarser bars, `sessions` learns closed hours, `rows` turns bars into rows, `indicators` computes what a
row holds beside its windows. Reading files of our layout that others wrote belongs to `sources`.
"""
