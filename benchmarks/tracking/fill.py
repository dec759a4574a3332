"""Write 5,000 finished runs into one experiment of a tracking database, the same for every server.

fill.py <database file> <experiment id> <count>
"""

import random
import sqlite3
import sys
import uuid


def main() -> None:
    database, experiment, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    chance = random.Random(7)
    connection = sqlite3.connect(database, timeout=30)
    (root,) = connection.execute(
        "SELECT artifact_location FROM experiments WHERE experiment_id = ?", (experiment,)
    ).fetchone()
    runs, metrics, params, tags = [], [], [], []
    for number in range(count):
        run = uuid.UUID(int=chance.getrandbits(128)).hex
        start = 1_700_000_000_000 + number
        runs.append(
            (
                run,
                f"run-{number}",
                "UNKNOWN",
                "",
                "",
                "bench",
                "FINISHED",
                start,
                start + 5,
                "",
                "active",
                f"{root}/{run}/artifacts",
                experiment,
            )
        )
        metrics += [(f"m{i}", chance.random(), start, 0, 0, run) for i in range(5)]
        params += [(f"p{i}", str(chance.random()), run) for i in range(5)]
        tags += [("mlflow.runName", f"run-{number}", run), ("mlflow.user", "bench", run)]
    with connection:
        connection.executemany(
            "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status,"
            " start_time, end_time, source_version, lifecycle_stage, artifact_uri, experiment_id)"
            " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
            runs,
        )
        for table in ("metrics", "latest_metrics"):
            connection.executemany(
                f"INSERT INTO {table} (key, value, timestamp, step, is_nan, run_uuid) VALUES (?,?,?,?,?,?)",
                metrics,
            )
        connection.executemany("INSERT INTO params (key, value, run_uuid) VALUES (?,?,?)", params)
        connection.executemany("INSERT INTO tags (key, value, run_uuid) VALUES (?,?,?)", tags)
    connection.close()


if __name__ == "__main__":
    main()
