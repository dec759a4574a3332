"""What `model_worker` does: imports nothing of the platform, and each framework only where it is there.

`program` answers requests, `originals` are the models as they were trained, `estimators`, `boosters` and
`networks` make graphs of them, and `checks` compares the two on the rows of `table`.
"""
