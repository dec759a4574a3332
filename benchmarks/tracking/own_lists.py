"""Time the lists that the platform shows itself, in process. Prints one JSON object.

own_lists.py <directory> <experiment id> <calls>
"""

import json
import statistics
import sys
import time

from ml_platform.integrations.mlflow import MlflowGateway, MlflowSettings, open_stores


def main() -> None:
    home, experiment, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    gateway = MlflowGateway(open_stores(MlflowSettings(f"sqlite:///{home}/mlflow.db", f"{home}/artifacts")))

    def timed(**options):
        times = []
        for _ in range(count + 1):
            begin = time.perf_counter()
            gateway.list_runs("bench", experiment, **options)
            times.append((time.perf_counter() - begin) * 1e3)
        return statistics.median(times[1:])

    json.dump({"page_of_100": timed(limit=100), "top_10": timed(by_metric="m0", limit=10)}, sys.stdout)


if __name__ == "__main__":
    main()
