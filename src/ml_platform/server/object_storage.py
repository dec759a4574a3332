"""Object storage, the prediction log in it, and the archive of the audit log, as the settings ask for: a directory, or a bucket."""

from collections.abc import Callable
from pathlib import Path

from ml_platform.integrations.predictionlog import Arrival, BucketPredictionLog, LocalPredictionLog
from ml_platform.integrations.s3 import S3Storage
from ml_platform.integrations.writeonce import ArchiveDirectory, LockedBucket
from ml_platform.kit.s3 import S3Address, S3Connection
from ml_platform.kit.s3.cache import FileCache
from ml_platform.kit.s3.client import S3Client
from ml_platform.kit.storage import LocalStorage, ObjectStorage
from ml_platform.server.settings import Settings
from ml_platform.services.audit import WriteOnceStore
from ml_platform.services.monitoring import PredictionLog


def open_storage(settings: Settings) -> ObjectStorage:
    """Nothing is asked of a bucket yet."""
    if settings.storage is None:
        return LocalStorage(settings.home / "storage")
    return S3Storage(_bucket(settings, settings.storage), _cache(settings, "storage"))


def open_log(settings: Settings, *, flush: Callable[[], bool]) -> PredictionLog:
    """The log that the inference server writes; `flush` has it written to the last prediction."""
    if settings.storage is None:
        return LocalPredictionLog(Path(settings.prediction_log), settings.prediction_spool, flush=flush)
    arrival = Arrival(settings.prediction_spool, outgoing=settings.prediction_outgoing, flush=flush)
    return BucketPredictionLog(
        _bucket(settings, settings.prediction_log), _cache(settings, "predictions"), arrival
    )


def open_archive(settings: Settings) -> WriteOnceStore | None:
    """Where the audit log is copied to, if anywhere; nothing is asked of a bucket yet."""
    where = settings.audit_archive
    if where is None:
        return None
    if not where.startswith("s3:"):
        return ArchiveDirectory(Path(where).expanduser().absolute())
    connection = S3Connection(settings.storage_endpoint or "", settings.storage_region or "")
    return LockedBucket(S3Address.parse(where), connection, mode=settings.audit_archive_mode)


def _bucket(settings: Settings, uri: str) -> S3Client:
    connection = S3Connection(settings.storage_endpoint or "", settings.storage_region or "")
    return S3Client(S3Address.parse(uri), connection)


def _cache(settings: Settings, name: str) -> FileCache:
    """Half of what may be kept is for each: one must not drive out the other."""
    return FileCache(settings.home / "cache" / name, settings.storage_cache_bytes // 2)
