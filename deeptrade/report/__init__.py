"""Reports: tables and figures from a run's files, notebooks as pages, and an index that starts with the verdict.

Three layers: `findings` computes the numbers, `tables` and `figures` format them, `page` and `index` write HTML.
"""
