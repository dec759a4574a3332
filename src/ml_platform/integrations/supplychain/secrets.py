"""Secrets that were packed together with a model, found by the form that their issuers give them.

Only forms that are hardly ever anything else are looked for: a finding stops a deployment, so a guess by
entropy would stop the wrong ones. What is found is named by kind and place and never repeated.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from ml_platform.services.deployments import SecretFinding

_MOST_FILES = 5_000
_MOST_BYTES = 2 * 1024**2
_MOST_FINDINGS = 100
_KINDS: tuple[tuple[str, re.Pattern[bytes]], ...] = (
    ("private key", re.compile(rb"-----BEGIN (?:[A-Z]{1,20} )?PRIVATE KEY-----")),
    ("AWS access key", re.compile(rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),
    ("Google API key", re.compile(rb"\bAIza[0-9A-Za-z_-]{35}\b")),
    ("GitHub token", re.compile(rb"\bgh[pousr]_[0-9A-Za-z]{36,255}\b|\bgithub_pat_[0-9A-Za-z_]{60,255}\b")),
    ("GitLab token", re.compile(rb"\bglpat-[0-9A-Za-z_-]{20,}")),
    ("Slack token", re.compile(rb"\bxox[abeoprs]-[0-9A-Za-z-]{10,}")),
    ("Slack webhook", re.compile(rb"hooks\.slack\.com/services/T[0-9A-Z]+/B[0-9A-Z]+/[0-9A-Za-z]{20,}")),
    ("Stripe key", re.compile(rb"\b[rs]k_live_[0-9A-Za-z]{20,}\b")),
    ("OpenAI key", re.compile(rb"\bsk-(?:proj-)?[0-9A-Za-z_-]{40,}\b")),
    ("Hugging Face token", re.compile(rb"\bhf_[0-9A-Za-z]{34,}\b")),
    ("PyPI token", re.compile(rb"\bpypi-AgEI[0-9A-Za-z_-]{50,}")),
    ("key of this platform", re.compile(rb"\bmlops_[0-9a-z]{10,40}_[0-9A-Za-z_-]{30,}")),
    (
        "password in an address",
        re.compile(rb"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@\"']{1,100}:(?P<password>[^\s/:@\"'{$<]{3,200})@"),
    ),
)
_PLACEHOLDERS = frozenset({b"password", b"passwd", b"pass", b"pwd", b"secret"})
"""What stands for a password in examples, the whole of it; so do rows of x and of asterisks."""


def find_secrets(directory: Path) -> tuple[list[SecretFinding], bool]:
    """What was found below a directory, and whether all of it was looked at.

    Links are not followed; files beyond 2 MiB are looked at in their first part.
    """
    findings: list[SecretFinding] = []
    complete = True
    for number, file in enumerate(_files(directory)):
        if number >= _MOST_FILES or len(findings) >= _MOST_FINDINGS:
            return findings[:_MOST_FINDINGS], False
        try:
            with file.open("rb") as opened:
                content = opened.read(_MOST_BYTES + 1)
        except OSError:
            complete = False
            continue
        complete = complete and len(content) <= _MOST_BYTES
        findings += _in(content, file.relative_to(directory).as_posix())
    return findings[:_MOST_FINDINGS], complete


def _files(directory: Path) -> Iterator[Path]:
    for file in sorted(directory.rglob("*")):
        if file.is_file() and not file.is_symlink():
            yield file


def _in(content: bytes, path: str) -> Iterator[SecretFinding]:
    for kind, pattern in _KINDS:
        for match in pattern.finditer(content):
            if _stands_for_one(match.groupdict().get("password")):
                continue
            yield SecretFinding(path=path, line=content.count(b"\n", 0, match.start()) + 1, kind=kind)
            break  # one of a kind in a file is enough to stop, and to be looked for


def _stands_for_one(password: bytes | None) -> bool:
    """Whether a password is none but a word for one."""
    return password is not None and (password.lower() in _PLACEHOLDERS or not password.lower().strip(b"x*"))
