"""The load: MLflow's own client against one tracking server. Prints one JSON object.

Run in the peers' environment, so that the client is the same whichever server answers:
client.py calls|threads|search|experiment <options as JSON>
"""

import json
import os
import statistics
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

options = json.loads(sys.argv[2])
os.environ["MLFLOW_TRACKING_URI"] = options["uri"]
if options.get("token"):
    os.environ["MLFLOW_TRACKING_TOKEN"] = options["token"]
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

from mlflow import MlflowClient  # noqa: E402 - reads its environment on import
from mlflow.entities import Metric  # noqa: E402

client = MlflowClient()


def milliseconds(call, count):
    call()
    times = []
    for _ in range(count):
        begin = time.perf_counter()
        call()
        times.append((time.perf_counter() - begin) * 1e3)
    return times


def summary(times):
    ordered = sorted(times)
    return {
        "p50": statistics.median(ordered),
        "p99": ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))],
        "count": len(ordered),
    }


def calls():
    experiment = client.create_experiment(uuid.uuid4().hex)
    run = client.create_run(experiment).info.run_id
    now = int(time.time() * 1000)
    step = iter(range(10**9))

    def batch():
        at = next(step)
        client.log_batch(run, metrics=[Metric(f"b{i}", at + i, now, at) for i in range(100)])

    count = options["calls"]
    return {
        "log_param": summary(milliseconds(lambda: client.log_param(run, uuid.uuid4().hex, "1"), count)),
        "log_metric": summary(milliseconds(lambda: client.log_metric(run, "m", 1.0, step=next(step)), count)),
        "create_run": summary(milliseconds(lambda: client.create_run(experiment), count)),
        "log_batch": summary(milliseconds(batch, max(10, count // 4))),
    }


def threads():
    experiment = client.create_experiment(uuid.uuid4().hex)
    width, seconds = options["threads"], options["seconds"]
    runs = [client.create_run(experiment).info.run_id for _ in range(width)]

    def metric(worker, step):
        client.log_metric(runs[worker], "m", float(step), step=step)

    def create(_worker, _step):
        client.create_run(experiment)

    def loop(worker, call, until):
        times, step = [], 0
        while time.perf_counter() < until:
            begin = time.perf_counter()
            call(worker, step)
            times.append((time.perf_counter() - begin) * 1e3)
            step += 1
        return times

    result = {}
    for name, call in (("log_metric", metric), ("create_run", create)):
        begin = time.perf_counter()
        with ThreadPoolExecutor(width) as pool:
            jobs = [pool.submit(loop, worker, call, begin + seconds) for worker in range(width)]
            times = [one for job in jobs for one in job.result()]
        result[name] = {**summary(times), "per_second": len(times) / (time.perf_counter() - begin)}
    return result


def search():
    experiment, count = options["experiment_id"], options["calls"]
    page = lambda: client.search_runs([experiment], max_results=100)  # noqa: E731
    top = lambda: client.search_runs([experiment], max_results=10, order_by=["metrics.m0 DESC"])  # noqa: E731
    assert len(page()) == 100, "the experiment must hold the prepared runs"
    return {"page_of_100": summary(milliseconds(page, count)), "top_10": summary(milliseconds(top, count))}


def experiment():
    return {"experiment_id": client.create_experiment(uuid.uuid4().hex)}


if __name__ == "__main__":
    result = {"calls": calls, "threads": threads, "search": search, "experiment": experiment}[sys.argv[1]]()
    json.dump(result, sys.stdout)
