"""OpenSSF model signing (OMS) 1.0 with an elliptic curve key: what `model_signing verify key` checks.

A signature is a Sigstore bundle: a DSSE envelope around an in-toto statement that lists every file of the
model with its SHA-256. The statement's subject is the SHA-256 over these digests in their order.

Sources: github.com/ossf/model-signing-spec; in-toto Attestation Framework, statement v1;
github.com/secure-systems-lab/dsse, protocol v1.0.0; docs.sigstore.dev/about/bundle.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://model_signing/signature/v1.0"
_CURVE_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_NAMED = 5


class _NotTrueError(Exception):
    """The signature says nothing that can be relied on; the text says why."""


class OmsSigner:
    """Signs with P-256 and SHA-256, and checks signatures of this very key.

    Args:
        secret: at least 40 random bytes, from which the key is derived.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) < 40:
            msg = "the secret of the signing key is too short"
            raise ValueError(msg)
        scalar = int.from_bytes(secret) % (_CURVE_ORDER - 1) + 1
        self._key = ec.derive_private_key(scalar, ec.SECP256R1())
        self.public_key = (
            self._key.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        )
        self.key_sha256 = hashlib.sha256(self.public_key.encode()).hexdigest()

    def sign(self, name: str, files: Mapping[str, str]) -> dict[str, Any]:
        """The signature of a model: of its name, and of its files with their SHA-256."""
        payload = json.dumps(_statement(name, files), separators=(",", ":")).encode()
        signature = self._key.sign(_encoded(payload), ec.ECDSA(hashes.SHA256()))
        return {
            "mediaType": _MEDIA_TYPE,
            "verificationMaterial": {"publicKey": {"hint": self.key_sha256}, "tlogEntries": []},
            "dsseEnvelope": {
                "payload": base64.b64encode(payload).decode(),
                "payloadType": _PAYLOAD_TYPE,
                "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
            },
        }

    def problem(self, signature: Mapping[str, Any] | None, name: str, files: Mapping[str, str]) -> str | None:
        """Why these files are not what this key signed under this name; None when they are."""
        if not signature:
            return f"{name} is not signed; register it again"
        try:
            signed = self._signed(signature)
            subject, found = _read(signed)
        except _NotTrueError as error:
            return f"the signature of {name} cannot be relied on: {error}"
        if subject != name:
            return f"the signature is that of {subject[:300]!r}, not of {name}"
        return _difference(name, found, files)

    def _signed(self, signature: Mapping[str, Any]) -> bytes:
        """The payload, once the key was checked to be ours and the signature to be true."""
        try:
            hint = signature["verificationMaterial"]["publicKey"]["hint"]
            envelope = signature["dsseEnvelope"]
            payload = base64.b64decode(envelope["payload"], validate=True)
            raw = base64.b64decode(envelope["signatures"][0]["sig"], validate=True)
            kinds = (signature["mediaType"], envelope["payloadType"])
        except (KeyError, IndexError, TypeError, ValueError, binascii.Error) as error:
            raise _NotTrueError("it is not of the form of a Sigstore bundle") from error
        if kinds != (_MEDIA_TYPE, _PAYLOAD_TYPE):
            raise _NotTrueError(f"it is of another kind: {str(kinds)[:200]}")
        if hint != self.key_sha256:
            raise _NotTrueError(
                f"it is by the key {str(hint)[:12]}…, and this installation's is {self.key_sha256[:12]}…"
            )
        try:
            self._key.public_key().verify(raw, _encoded(payload), ec.ECDSA(hashes.SHA256()))
        except InvalidSignature as error:
            raise _NotTrueError("what is signed was changed, or another key signed it") from error
        return payload


def _statement(name: str, files: Mapping[str, str]) -> dict[str, Any]:
    ordered = sorted(files.items(), key=lambda item: PurePosixPath(item[0]))
    return {
        "_type": _STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": _root([digest for _, digest in ordered])}}],
        "predicateType": _PREDICATE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [],
            },
            "resources": [
                {"name": path, "algorithm": "sha256", "digest": digest} for path, digest in ordered
            ],
        },
    }


def _root(digests: list[str]) -> str:
    return hashlib.sha256(b"".join(bytes.fromhex(digest) for digest in digests)).hexdigest()


def _encoded(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: the kind is signed with what it is a kind of."""
    kind = _PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def _read(payload: bytes) -> tuple[str, dict[str, str]]:
    """The name and the files of a statement that was shown to be ours."""
    statement = json.loads(payload)
    resources = statement["predicate"]["resources"]
    found = {item["name"]: item["digest"] for item in resources}
    root = _root([item["digest"] for item in resources])
    [subject] = statement["subject"]
    if statement["predicateType"] != _PREDICATE or root != subject["digest"]["sha256"]:
        raise _NotTrueError("its statement contradicts itself")
    return subject["name"], found


def _difference(name: str, signed: Mapping[str, str], files: Mapping[str, str]) -> str | None:
    changed = sorted(path for path in signed.keys() & files.keys() if signed[path] != files[path])
    added, gone = sorted(files.keys() - signed.keys()), sorted(signed.keys() - files.keys())
    told = [
        f"{', '.join(paths[:_NAMED])} {'was' if len(paths) == 1 else 'were'} {what}"
        for what, paths in (("changed", changed), ("added", added), ("removed", gone))
        if paths
    ]
    return f"the files of {name} are not those that were signed: {'; '.join(told)}" if told else None
