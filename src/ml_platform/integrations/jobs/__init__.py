"""The local job engine: training scripts as child processes of this machine, under limits.

`engine.LocalJobEngine` is what the control plane holds; `runner` is the process that looks after one job.
Nothing is imported here, because a job's start waits for the runner's imports.
"""
