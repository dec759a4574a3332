"""Traces of requests in OpenTelemetry's form: noted by the workers, made into spans and sent by a process beside.

A worker decides which requests are traced and notes when each of their stages began (`tracer`). The parent
passes that on (`keeper`) to a process of its own, which writes spans (`spans`) and posts them (`exporter`).
"""
