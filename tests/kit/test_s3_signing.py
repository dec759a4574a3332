"""Requests to S3 that we sign ourselves, and where their credentials come from."""

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as TheirCredentials

from ml_platform.kit.errors import UnavailableError
from ml_platform.kit.s3.credentials import CredentialChain, Credentials
from ml_platform.kit.s3.signing import object_url, signed_headers

VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)


class TestASignature:
    """Beside the one of AWS's own library."""

    @pytest.mark.parametrize("token", [None, "a-session/token=="])
    @pytest.mark.parametrize("method", ["PUT", "HEAD"])
    @pytest.mark.parametrize("key", ["a/b.jsonl.gz", "with space/ü~+(1)=@.json"])
    def test_is_theirs(self, method: str, key: str, token: str | None) -> None:
        url = object_url("https://s3.eu-central-1.amazonaws.com", "bucket.name", key)
        body = b"content" if method == "PUT" else b""
        headers = {"x-amz-object-lock-mode": "COMPLIANCE", "if-none-match": "*", "content-type": "a/b"}
        ours = signed_headers(
            method,
            url,
            headers,
            body,
            credentials=Credentials("AKIA", "secret/key+", token),
            region="eu-central-1",
            at=datetime.now(UTC),
        )
        request = AWSRequest(method=method, url=url, headers=dict(headers), data=body)
        request.headers["host"] = "s3.eu-central-1.amazonaws.com"
        request.context["timestamp"] = ours["x-amz-date"]
        theirs = _Signer(TheirCredentials("AKIA", "secret/key+", token), "s3", "eu-central-1")
        theirs.stamp = ours["x-amz-date"]
        theirs.payload_hash = ours["x-amz-content-sha256"]
        assert ours["authorization"] == theirs.authorization(request)


class _Signer(S3SigV4Auth):  # type: ignore[misc]
    """Theirs, at a moment of ours."""

    stamp = ""
    payload_hash = ""

    def authorization(self, request: AWSRequest) -> str:
        request.context["timestamp"] = self.stamp
        request.context["payload_signing_enabled"] = True
        request.headers["X-Amz-Date"] = self.stamp
        request.headers["X-Amz-Content-SHA256"] = self.payload_hash
        if self.credentials.token:
            request.headers["X-Amz-Security-Token"] = self.credentials.token
        canonical = self.canonical_request(request)
        signature = self.signature(self.string_to_sign(request, canonical), request)
        return str(self._inject_signature_to_request(request, signature).headers["Authorization"])


Answer = Callable[[str, str, dict[str, str], str], str | None]


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[Answer]]]:
    """An HTTP server on this machine that answers as it is told, and an environment that names no credentials."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    answers: list[Answer] = []

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
            headers = {name.lower(): value for name, value in self.headers.items()}
            found = answers[0](self.command, self.path, headers, body)
            self.send_response(200 if found is not None else 404)
            self.send_header("content-length", str(len((found or "").encode())))
            self.end_headers()
            self.wfile.write((found or "").encode())

        do_GET = do_PUT = do_POST = _answer  # noqa: N815 - the library's names

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", answers
    server.shutdown()
    server.server_close()


def document(number: int = 1, *, lives: timedelta = timedelta(hours=1)) -> str:
    expires = (datetime.now(UTC) + lives).strftime("%Y-%m-%dT%H:%M:%SZ")
    found = {"AccessKeyId": f"ASIA{number}", "SecretAccessKey": "s", "Token": "t", "Expiration": expires}
    return json.dumps(found)


class TestCredentials:
    def test_come_from_the_environment_first(
        self, source: tuple[str, list[Answer]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        assert CredentialChain("eu-central-1").get() == Credentials("AKIA", "secret")

    def test_come_from_a_web_identity(
        self, source: tuple[str, list[Answer]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        url, answers = source
        (tmp_path / "token").write_text("the-token\n")
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
        monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/audit")
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", url)

        def answer(method: str, path: str, _headers: dict[str, str], body: str) -> str | None:
            assert (method, path) == ("POST", "/")
            if "WebIdentityToken=the-token" not in body or "AssumeRoleWithWebIdentity" not in body:
                return None
            return (
                "<R><Credentials><AccessKeyId>ASIA1</AccessKeyId><SecretAccessKey>s</SecretAccessKey>"
                "<SessionToken>t</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></R>"
            )

        answers.append(answer)
        found = CredentialChain("eu-central-1").get()
        assert (found.access_key, found.secret_key, found.token) == ("ASIA1", "s", "t")

    def test_come_from_a_container_and_are_asked_for_anew_before_they_expire(
        self, source: tuple[str, list[Answer]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        url, answers = source
        (tmp_path / "token").write_text("pod")
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{url}/v1/credentials")
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
        asked: list[str] = []

        def answer(_method: str, path: str, headers: dict[str, str], _body: str) -> str | None:
            asked.append(path)
            lives = timedelta(minutes=1) if len(asked) == 1 else timedelta(hours=1)
            return document(len(asked), lives=lives) if headers.get("authorization") == "pod" else None

        answers.append(answer)
        chain = CredentialChain("eu-central-1")
        assert [chain.get().access_key for _ in range(3)] == ["ASIA1", "ASIA2", "ASIA2"]
        assert asked == ["/v1/credentials"] * 2

    def test_come_from_an_instance(
        self, source: tuple[str, list[Answer]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        url, answers = source
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "false")
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)

        def answer(method: str, path: str, headers: dict[str, str], _body: str) -> str | None:
            if (method, path) == ("PUT", "/latest/api/token"):
                return "session"
            if headers.get("x-aws-ec2-metadata-token") != "session":
                return None
            root = "/latest/meta-data/iam/security-credentials/"
            return {root: "the-role\n", f"{root}the-role": document()}.get(path)

        answers.append(answer)
        assert CredentialChain("eu-central-1").get().access_key == "ASIA1"

    def test_that_are_nowhere_are_said_to_be(self, source: tuple[str, list[Answer]]) -> None:
        with pytest.raises(UnavailableError, match="no credentials"):
            CredentialChain("eu-central-1").get()

    @pytest.mark.parametrize("text", ["", "{}", "[]", "nonsense", '{"AccessKeyId": 5}'])
    def test_that_make_no_sense_are_said_to_be_none(
        self, source: tuple[str, list[Answer]], monkeypatch: pytest.MonkeyPatch, text: str
    ) -> None:
        url, answers = source
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        answers.append(lambda *_: text)
        with pytest.raises(UnavailableError, match="no credentials"):
            CredentialChain("eu-central-1").get()
