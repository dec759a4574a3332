"""Credentials of AWS, found where its own libraries find them: variables, a web identity, a container's, an instance's.

Only for requests that the library of `client` cannot make; the order is the same as there.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from ml_platform.kit.errors import UnavailableError

_EARLY = timedelta(minutes=5)
_SECONDS = 5.0
_CONTAINER = "http://169.254.170.2"
_INSTANCE = "http://169.254.169.254"
_UNUSABLE = (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, KeyError, TypeError, AttributeError)
"""What it looks like when a source answers nonsense, or nothing."""


@dataclass(frozen=True, slots=True)
class Credentials:
    access_key: str
    secret_key: str
    token: str | None = None
    expires: datetime | None = None


class CredentialChain:
    """Asks the first source that there is; what expires is asked for anew in time. Safe to use from many threads."""

    def __init__(self, region: str) -> None:
        self._region = region
        self._lock = threading.Lock()
        self._found: Credentials | None = None

    def get(self) -> Credentials:
        """Raises UnavailableError, which names no secret, when there are none."""
        key, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
        if key and secret:
            return Credentials(key, secret, os.environ.get("AWS_SESSION_TOKEN") or None)
        with self._lock:
            found = self._found
            if found is None or (found.expires is not None and found.expires - _EARLY < datetime.now(UTC)):
                found = self._found = self._ask()
            return found

    def _ask(self) -> Credentials:
        source: Callable[[httpx.Client], Credentials] = self._instance
        if os.environ.get("AWS_WEB_IDENTITY_TOKEN_FILE") and os.environ.get("AWS_ROLE_ARN"):
            source = self._web_identity
        elif _container_address() is not None:
            source = self._container
        try:
            with httpx.Client(timeout=_SECONDS, trust_env=source == self._web_identity) as client:
                return source(client)
        except _UNUSABLE as error:
            raise UnavailableError(
                f"no credentials for S3 were found ({type(error).__name__})",
                hint="give this process AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role",
                retry_after=30,
            ) from None

    def _web_identity(self, client: httpx.Client) -> Credentials:
        address = os.environ.get("AWS_ENDPOINT_URL_STS") or f"https://sts.{self._region}.amazonaws.com"
        form = {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": "2011-06-15",
            "RoleArn": os.environ["AWS_ROLE_ARN"],
            "RoleSessionName": os.environ.get("AWS_ROLE_SESSION_NAME") or "ml-platform",
            "WebIdentityToken": Path(os.environ["AWS_WEB_IDENTITY_TOKEN_FILE"]).read_text().strip(),
        }
        text = client.post(address, data=form).raise_for_status().text
        return _credentials({name: _element(text, name) for name in ("AccessKeyId", "SecretAccessKey", "SessionToken",
                                                                     "Expiration")})  # fmt: skip

    def _container(self, client: httpx.Client) -> Credentials:
        headers = {}
        token = os.environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN")
        if file := os.environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"):
            token = Path(file).read_text().strip()
        if token:
            headers["authorization"] = token
        address = _container_address() or ""
        return _credentials(json.loads(client.get(address, headers=headers).raise_for_status().text))

    def _instance(self, client: httpx.Client) -> Credentials:
        if os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
            raise KeyError("AWS_EC2_METADATA_DISABLED")
        root = (os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or _INSTANCE).rstrip("/") + "/latest"
        life = {"x-aws-ec2-metadata-token-ttl-seconds": "300"}
        token = client.put(f"{root}/api/token", headers=life).raise_for_status().text
        headers = {"x-aws-ec2-metadata-token": token}
        roles = f"{root}/meta-data/iam/security-credentials/"
        role = client.get(roles, headers=headers).raise_for_status().text.split("\n")[0].strip()
        return _credentials(json.loads(client.get(roles + role, headers=headers).raise_for_status().text))


def _container_address() -> str | None:
    if relative := os.environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"):
        return _CONTAINER + relative
    return os.environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI") or None


def _credentials(found: dict[str, str]) -> Credentials:
    """As all these sources name them; one of them says `SessionToken` for `Token`."""
    token = found.get("SessionToken") or found.get("Token")
    expires = datetime.fromisoformat(found["Expiration"]).astimezone(UTC)
    return Credentials(found["AccessKeyId"], found["SecretAccessKey"], token, expires)


def _element(text: str, name: str) -> str:
    found = re.search(rf"<{name}>([^<]{{1,8192}})</{name}>", text)
    if found is None:
        raise KeyError(name)
    return found.group(1).strip()
