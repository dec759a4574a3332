"""The prediction log: every request that reached a model, with its answer, as Parquet.

A worker appends records to a spool file (`spool`, `writer`), a short-lived process rolls closed spools into
Parquet (`roll`), whose columns are `schema.COLUMNS` and the features.
"""
