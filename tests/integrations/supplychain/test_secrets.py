"""Secrets in a model's files are found, named and never repeated; what only looks odd is left alone."""

from pathlib import Path

import pytest

from ml_platform.integrations.supplychain import find_secrets

# Put together here, so that no scanner takes this file for a leak.
LEAKS = {
    "AWS access key": "AKIA" + "ABCDEFGHIJKLMNOP",
    "Google API key": "AIza" + "a" * 35,
    "GitHub token": "ghp_" + "A1" * 18,
    "GitLab token": "glpat-" + "x" * 20,
    "Slack token": "xoxb-" + "1" * 12,
    "Slack webhook": "hooks.slack.com/services/" + "T01/B02/" + "z" * 24,
    "Stripe key": "sk_live_" + "9" * 24,
    "OpenAI key": "sk-proj-" + "Q" * 44,
    "Hugging Face token": "hf_" + "w" * 34,
    "PyPI token": "pypi-AgEI" + "c" * 60,
    "key of this platform": "mlops_" + "0123456789abcdef_" + "s" * 40,
    "private key": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "password in an address": "postgresql://ml:" + "hunter22@db.internal/x",
}


@pytest.mark.parametrize("kind", list(LEAKS))
def test_each_kind_is_found_in_text_and_between_bytes(tmp_path: Path, kind: str) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").write_text(f"import os\nKEY = '{LEAKS[kind]}'\n")
    (tmp_path / "model.bin").write_bytes(b"\x00\xff" + LEAKS[kind].encode() + b"\x00")
    findings, complete = find_secrets(tmp_path)
    assert complete
    assert [(found.path, found.line, found.kind) for found in findings] == [
        ("code/train.py", 2, kind),
        ("model.bin", 1, kind),
    ]
    assert LEAKS[kind] not in repr(findings)


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://user:password@localhost/x",
        "redis://{user}:{password}@host",
        "redis://user:xxxxx@host and amqp://me:***@host",
        "https://docs.python.org/3/library/os.html",
        "s3://bucket/key@version",
        "sk-learn and AKIA are words; sha256:" + "0123456789abcdef" * 4,
        "-----BEGIN PUBLIC KEY-----",
        "mlflow==3.17.2",
    ],
)
def test_what_is_no_secret_is_left_alone(tmp_path: Path, text: str) -> None:
    (tmp_path / "notes.md").write_text(text)
    assert find_secrets(tmp_path) == ([], True)


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://ml:" + "hunter22@db.example.com/x  # an example",
        "a = 'redis://user:password@h'; b = 'redis://ml:" + "xhunter22@h'",
    ],
)
def test_what_stands_beside_it_hides_no_password(tmp_path: Path, text: str) -> None:
    (tmp_path / "notes.md").write_text(text)
    [found], _ = find_secrets(tmp_path)
    assert found.kind == "password in an address"


def test_links_are_not_followed_and_large_files_are_said_to_be_seen_in_part(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text(LEAKS["AWS access key"])
    model = tmp_path / "model"
    model.mkdir()
    (model / "link").symlink_to(outside)
    assert find_secrets(model) == ([], True)
    (model / "weights").write_bytes(b"\x00" * (2 * 1024**2 + 1))
    assert find_secrets(model) == ([], False)
