"""The prediction log in a bucket: what a reader asks for is listed there, and copied here once.

DuckDB reads the copies, as it reads a log on a disk: its own way to S3 is an extension that it loads from the network.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

from ml_platform.inference.predictionlog.schema import FEATURE_PREFIX
from ml_platform.integrations.predictionlog.arrival import Arrival
from ml_platform.integrations.predictionlog.local import partitions
from ml_platform.kit.s3.cache import FileCache
from ml_platform.kit.s3.client import ObjectInfo, S3Client
from ml_platform.services.monitoring import ServedDeployment

_AT_ONCE = 16


class BucketPredictionLog:
    """The log below one prefix.

    Args:
        client: of that prefix.
        cache: of the copies.
        arrival: knows what has not got there yet.
    """

    def __init__(self, client: S3Client, cache: FileCache, arrival: Arrival) -> None:
        self._client = client
        self._cache = cache
        self._arrival = arrival

    def is_complete(self, until: datetime) -> bool:
        return self._arrival.is_complete(until)

    def refresh(self) -> None:
        self._arrival.refresh()

    def files(self, deployment: ServedDeployment, since: datetime, until: datetime) -> list[Path]:
        """Raises UnavailableError while the store does not answer."""
        found = [
            info
            for folder in partitions(deployment, since, until)
            for info in sorted(self._client.objects(folder), key=lambda info: info.key)
            if info.key.endswith(".parquet")
        ]
        with ThreadPoolExecutor(min(_AT_ONCE, max(len(found), 1))) as pool:
            return [path for path in pool.map(self._copy, found) if path is not None]

    def feature_column(self, name: str) -> str:
        return FEATURE_PREFIX + name

    def _copy(self, info: ObjectInfo) -> Path | None:
        """None for one whose day was deleted meanwhile."""

        def fill(target: Path) -> Mapping[str, str]:
            digest = self._client.download(info, target)
            if digest is None:
                raise FileNotFoundError(info.key)
            return {".": digest}

        identity = f"{self._client.root}/{info.key}\0{info.etag}\0{info.size}"
        try:
            return self._cache.get(identity, info.key.rpartition("/")[2], fill)
        except FileNotFoundError:
            return None
