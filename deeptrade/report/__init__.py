"""Reports: tables and figures from a run's files, notebooks as pages, and the index that says the verdict first.

Three layers: `tables` and `figures` turn plain data into tables and figures, `page` and `index` turn those into HTML.
"""
