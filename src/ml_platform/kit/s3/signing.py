"""AWS's signature of a request, version 4: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html.

S3 refuses a request with a header `x-amz-*` that is not signed, and the library of `client` signs no header of ours.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

from ml_platform.kit.s3.credentials import Credentials

_ALGORITHM = "AWS4-HMAC-SHA256"


def signed_headers(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    credentials: Credentials,
    region: str,
    at: datetime,
) -> dict[str, str]:
    """The headers of a request without a query, with those that sign it and all of them.

    Args:
        method: of the request.
        url: percent-encoded, without a query.
        headers: lower-case names.
        body: all of it.
        credentials: whose request it is.
        region: of the bucket.
        at: the time of the request, aware.
    """
    parts, stamp = urlsplit(url), at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    content = hashlib.sha256(body).hexdigest()
    sent = {**headers, "host": parts.netloc, "x-amz-date": stamp, "x-amz-content-sha256": content}
    if credentials.token:
        sent["x-amz-security-token"] = credentials.token
    names = ";".join(sorted(sent))
    listed = "".join(f"{name}:{' '.join(sent[name].split())}\n" for name in sorted(sent))
    request = "\n".join([method, parts.path or "/", parts.query, listed, names, content])
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    message = "\n".join([_ALGORITHM, stamp, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = f"AWS4{credentials.secret_key}".encode()
    for part in (stamp[:8], region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    seal = hmac.digest(key, message.encode(), "sha256").hex()
    credential = f"{credentials.access_key}/{scope}"
    authorization = f"{_ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={seal}"
    return sent | {"authorization": authorization}


def object_url(endpoint: str, bucket: str, key: str) -> str:
    """An object's address, with the bucket in its path, as `client` asks for it."""
    return f"{endpoint.rstrip('/')}/{bucket}/{quote(key, safe='/-_.~')}"
