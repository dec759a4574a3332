"""Write-once storage in S3: each object is locked by the request that writes it, and written only where none stands.

The lock is per version: in the mode COMPLIANCE nobody, the account's root included, deletes the version or shortens the
lock before its time; in GOVERNANCE those may who hold a right of their own. That the store really keeps it is asked of the store.
"""

from __future__ import annotations

import base64
import hashlib
import os
from datetime import UTC, datetime

import httpx

from ml_platform.contracts.auditarchive import MAX_FILE_BYTES
from ml_platform.kit.clock import Clock, utc_now
from ml_platform.kit.errors import UnavailableError
from ml_platform.kit.s3 import S3Address, S3Connection
from ml_platform.kit.s3.client import S3Client
from ml_platform.kit.s3.credentials import CredentialChain
from ml_platform.kit.s3.signing import object_url, signed_headers

_MODE, _UNTIL = "x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date"


class LockedBucket:
    """Implements `WriteOnceStore`.

    Args:
        address: the bucket, which must have Object Lock, and a prefix.
        connection: how the store is reached.
        mode: `COMPLIANCE` or `GOVERNANCE`.
        clock: for signatures.
    """

    def __init__(
        self, address: S3Address, connection: S3Connection, *, mode: str, clock: Clock = utc_now
    ) -> None:
        self._address = address
        self._mode = mode
        self._clock = clock
        self._client = S3Client(address, connection)
        environment = os.environ
        self._region = (
            connection.region
            or environment.get("AWS_REGION")
            or environment.get("AWS_DEFAULT_REGION")
            or "us-east-1"
        )
        self._endpoint = (
            connection.endpoint
            or environment.get("AWS_ENDPOINT_URL_S3")
            or environment.get("AWS_ENDPOINT_URL")
            or f"https://s3.{self._region}.amazonaws.com"
        )
        self._credentials = CredentialChain(self._region)
        self._http = httpx.Client(
            timeout=httpx.Timeout(connection.silence_seconds + 10, connect=connection.connect_seconds)
        )

    @property
    def location(self) -> str:
        return str(self._address)

    @property
    def mode(self) -> str:
        return self._mode

    def put(self, name: str, content: bytes, keep_until: datetime) -> bool:
        until = keep_until.astimezone(UTC).replace(microsecond=0)
        headers = {
            _MODE: self._mode,
            _UNTIL: until.isoformat().replace("+00:00", "Z"),
            "if-none-match": "*",
            "content-md5": base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode(),
            "x-amz-checksum-sha256": base64.b64encode(hashlib.sha256(content).digest()).decode(),
            "x-amz-sdk-checksum-algorithm": "SHA256",
            "content-type": "application/gzip" if name.endswith(".gz") else "application/json",
        }
        answer = self._send("PUT", name, headers, content)
        if answer.status_code == httpx.codes.PRECONDITION_FAILED:
            self._prove(name, self._clock(), {"COMPLIANCE", "GOVERNANCE"})
            return False
        if answer.status_code != httpx.codes.OK:
            raise self._refused(answer)
        self._prove(name, until, {self._mode})
        return True

    def read(self, name: str) -> bytes | None:
        try:
            return self._client.read(name, MAX_FILE_BYTES)
        except ValueError:
            return b""  # whatever is larger than any of ours is no file of ours

    def _prove(self, name: str, until: datetime, modes: set[str]) -> None:
        """A store that takes these headers and does not know them would lose the log when it matters."""
        answer = self._send("HEAD", name, {}, b"")
        if answer.status_code != httpx.codes.OK:
            raise self._refused(answer)
        locked = answer.headers.get(_UNTIL, "")
        try:
            kept = datetime.fromisoformat(locked).astimezone(UTC) >= until
        except ValueError:
            kept = False
        if answer.headers.get(_MODE) not in modes or not kept:
            raise UnavailableError(
                f"the archive {self._address} does not lock what is written there",
                hint="use a bucket with Object Lock, and permit s3:GetObjectRetention",
            )

    def _send(self, method: str, name: str, headers: dict[str, str], body: bytes) -> httpx.Response:
        key = "/".join(filter(None, (self._address.prefix, name)))
        url = object_url(self._endpoint, self._address.bucket, key)
        signed = signed_headers(
            method,
            url,
            headers,
            body,
            credentials=self._credentials.get(),
            region=self._region,
            at=self._clock(),
        )
        try:
            return self._http.request(method, url, headers=signed, content=body or None)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = f"does not answer ({type(error).__name__})"
            raise UnavailableError(f"the archive {self._address} {reason}", retry_after=5) from None

    def _refused(self, answer: httpx.Response) -> UnavailableError:
        """Without the store's own words: they can hold the id of a key."""
        hint = None
        if answer.status_code == httpx.codes.BAD_REQUEST:
            hint = "the bucket must have Object Lock, which is chosen when it is made"
        if answer.status_code in {httpx.codes.FORBIDDEN, httpx.codes.UNAUTHORIZED}:
            hint = "permit s3:PutObject, s3:PutObjectRetention, s3:GetObject and s3:GetObjectRetention"
        reason = f"refuses what it is asked ({answer.status_code})"
        return UnavailableError(f"the archive {self._address} {reason}", hint=hint, retry_after=5)
