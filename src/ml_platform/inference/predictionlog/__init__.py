"""The prediction log: every request that reached a model, with its answer, as Parquet.

A worker appends records to a spool file (`spool`, `writer`). The parent (`keeper`) has a short-lived process roll
closed spools into Parquet (`roll`), whose columns are `schema.COLUMNS` and the features, deletes old days
(`retention`), and keeps a process that sends what was spooled as CloudEvents (`sink`, `outbox`, `cloudevents`).
"""
