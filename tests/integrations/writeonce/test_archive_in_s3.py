"""The audit log in a bucket with Object Lock: copied, checked from there alone, and in nobody's way."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ml_platform.contracts.audit import AuditArchiveState
from ml_platform.integrations.writeonce import LockedBucket
from ml_platform.kit.s3 import S3Address, S3Connection
from ml_platform.sdk.auditarchive import verify_archive
from ml_platform.sdk.errors import ConnectionFailedError
from tests.support.audit import Trail
from tests.support.s3 import Bucket


@pytest.fixture
def trail(locked_s3: Bucket, tmp_path: Path) -> Iterator[Trail]:
    made = Trail(f"sqlite:///{tmp_path}/audit.db", tmp_path)
    connection = S3Connection(silence_seconds=2, retry_seconds=2, retries=1)
    made.store = LockedBucket(S3Address.parse(locked_s3.uri), connection, mode="GOVERNANCE")
    made.archiver = made.new_archiver()
    yield made
    made.close()


class TestTheArchive:
    def test_is_checked_from_the_bucket_alone_and_beside_the_log(
        self, trail: Trail, locked_s3: Bucket
    ) -> None:
        trail.archive_old_and_new()
        assert trail.new_pruner().run() == 10
        trail.archiver.run()
        key = trail.chain.public_key
        for log in (None, trail.exporter.lines(team_id=None)):
            found = verify_archive(locked_s3.uri, key, log=log)
            assert (found.verified, found.events) == (True, 16), found.findings
        assert trail.archiver.status().mode == "GOVERNANCE"

    def test_an_object_that_was_written_over_is_found(self, trail: Trail, locked_s3: Bucket) -> None:
        trail.append(3)
        trail.archiver.run()
        keys = locked_s3.keys()
        [name] = [key for key in keys if "/segments/" in key]
        locked_s3.client(f"s3://{locked_s3.name}").put(name, b"something else")
        assert not verify_archive(locked_s3.uri, trail.chain.public_key).verified
        trail.append(1)
        archiver = trail.new_archiver()
        archiver.run()
        assert archiver.status().state is AuditArchiveState.CONFLICT

    def test_gets_everything_when_the_store_comes_back(self, trail: Trail, locked_s3: Bucket) -> None:
        trail.append(2)
        with locked_s3.server.away():
            trail.archiver.run()
            trail.append(2)
            status = trail.archiver.status()
            assert (status.state, status.backlog_events) == (AuditArchiveState.FAILING, 4)
            with pytest.raises(ConnectionFailedError):
                verify_archive(locked_s3.uri)
        assert trail.archiver.run() == 4
        assert verify_archive(locked_s3.uri, trail.chain.public_key).verified

    @pytest.mark.parametrize("request_number", range(1, 7))
    def test_is_whole_wherever_the_store_broke_off(
        self, trail: Trail, locked_s3: Bucket, request_number: int
    ) -> None:
        seen = 0

        def breaks(method: str, path: str) -> bool:
            nonlocal seen
            seen += locked_s3.name in path
            return seen >= request_number

        trail.append(3)
        locked_s3.server.refuse = breaks
        try:
            trail.archiver.run()
        finally:
            locked_s3.server.refuse = None
        trail.append(2)
        archiver = trail.new_archiver()
        archiver.run()
        assert archiver.status().state is AuditArchiveState.OK
        found = verify_archive(locked_s3.uri, trail.chain.public_key)
        assert (found.verified, found.events) == (True, 5), found.findings
