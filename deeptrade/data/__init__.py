"""Rows as batches: a checked dataset, which of its rows train, in which order, read ahead in the background.

`opening` opens data of any kind, from its store or straight from its text; `dataset` is what it returns; `generator` is
the Keras face of `batches`. Parsing belongs to `sources`, files on disk to `store`.
"""
