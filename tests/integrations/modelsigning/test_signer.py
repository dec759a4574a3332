"""Signatures of models: what breaks them, and that the stock `model_signing` command agrees."""

import base64
import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from ml_platform.integrations.modelsigning import OmsSigner
from tests.support.environments import StockClient

STOCK = StockClient(
    Path(__file__).with_name("verify_program.py"), "model-signing==1.1.1", "pyopenssl==26.4.0"
)
NAME = "churn/3"
FILES = {
    "MLmodel": hashlib.sha256(b"flavors").hexdigest(),
    "data/model.pkl": hashlib.sha256(b"weights").hexdigest(),
    "data/a b.txt": hashlib.sha256(b"").hexdigest(),
}


@pytest.fixture(scope="module")
def signer() -> OmsSigner:
    return OmsSigner(bytes(range(48)))


class TestSigning:
    def test_what_was_signed_holds(self, signer: OmsSigner) -> None:
        assert signer.problem(signer.sign(NAME, FILES), NAME, FILES) is None

    def test_the_key_follows_from_the_secret_alone(self, signer: OmsSigner) -> None:
        again = OmsSigner(bytes(range(48)))
        assert again.public_key == signer.public_key
        assert again.problem(signer.sign(NAME, FILES), NAME, FILES) is None
        assert signer.public_key.startswith("-----BEGIN PUBLIC KEY-----")

    def test_a_short_secret_is_refused(self) -> None:
        with pytest.raises(ValueError, match="too short"):
            OmsSigner(bytes(32))

    def test_the_order_of_files_does_not_matter(self, signer: OmsSigner) -> None:
        backwards = dict(reversed(FILES.items()))
        assert signer.problem(signer.sign(NAME, backwards), NAME, FILES) is None


class TestRefusals:
    def test_a_missing_one(self, signer: OmsSigner) -> None:
        for nothing in (None, {}):
            assert signer.problem(nothing, NAME, FILES) == "churn/3 is not signed; register it again"

    def test_a_changed_file_one_that_was_added_and_one_that_is_gone(self, signer: OmsSigner) -> None:
        signature = signer.sign(NAME, FILES)
        changed = FILES | {"MLmodel": hashlib.sha256(b"flavorS").hexdigest()}
        assert "MLmodel was changed" in str(signer.problem(signature, NAME, changed))
        added = FILES | {"code/extra.py": "0" * 64}
        assert "code/extra.py was added" in str(signer.problem(signature, NAME, added))
        gone = {name: digest for name, digest in FILES.items() if name != "data/model.pkl"}
        assert "data/model.pkl was removed" in str(signer.problem(signature, NAME, gone))

    def test_that_of_another_model(self, signer: OmsSigner) -> None:
        told = signer.problem(signer.sign("churn/2", FILES), NAME, FILES)
        assert told == "the signature is that of 'churn/2', not of churn/3"

    def test_that_of_another_key(self, signer: OmsSigner) -> None:
        other = OmsSigner(bytes(48))
        told = str(signer.problem(other.sign(NAME, FILES), NAME, FILES))
        assert f"it is by the key {other.key_sha256[:12]}" in told

    def test_that_of_another_key_that_says_it_is_ours(self, signer: OmsSigner) -> None:
        forged = OmsSigner(bytes(48)).sign(NAME, FILES)
        forged["verificationMaterial"]["publicKey"]["hint"] = signer.key_sha256
        assert "what is signed was changed, or another key" in str(signer.problem(forged, NAME, FILES))

    def test_a_statement_that_was_changed_afterwards(self, signer: OmsSigner) -> None:
        signature = signer.sign(NAME, FILES)
        envelope = signature["dsseEnvelope"]
        statement = json.loads(base64.b64decode(envelope["payload"]))
        statement["predicate"]["resources"][0]["digest"] = "0" * 64
        envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
        assert "what is signed was changed" in str(signer.problem(signature, NAME, FILES))

    @pytest.mark.parametrize(
        "spoil",
        [
            {"mediaType": "text/plain"},
            {"dsseEnvelope": None},
            {"dsseEnvelope": {"payload": "%%%", "payloadType": "x", "signatures": []}},
            {"verificationMaterial": {}},
            {"verificationMaterial": {"publicKey": []}},
        ],
    )
    def test_what_is_no_signature_at_all(self, signer: OmsSigner, spoil: dict[str, Any]) -> None:
        signature = signer.sign(NAME, FILES) | spoil
        assert "cannot be relied on" in str(signer.problem(signature, NAME, FILES))

    def test_every_bit_of_the_signature_counts(self, signer: OmsSigner) -> None:
        signature = signer.sign(NAME, FILES)
        raw = base64.b64decode(signature["dsseEnvelope"]["signatures"][0]["sig"])
        for number in range(len(raw)):
            spoilt = copy.deepcopy(signature)
            data = bytearray(raw)
            data[number] ^= 1
            spoilt["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(bytes(data)).decode()
            assert signer.problem(spoilt, NAME, FILES) is not None, number


class TestTheStockCommand:
    pytestmark = STOCK.marks

    @pytest.fixture
    def model(self, tmp_path: Path) -> Path:
        folder = tmp_path / "model"
        (folder / "data").mkdir(parents=True)
        for name, content in (("MLmodel", b"flavors"), ("data/model.pkl", b"weights"), ("data/a b.txt", b"")):
            (folder / name).write_bytes(content)
        return folder

    def test_it_agrees_about_what_holds_and_what_does_not(
        self, signer: OmsSigner, model: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "model.sig").write_text(json.dumps(signer.sign(NAME, FILES)))
        (tmp_path / "key.pem").write_text(signer.public_key)
        (tmp_path / "other.pem").write_text(OmsSigner(bytes(48)).public_key)

        def command(folder: Path, key: str = "key.pem") -> list[str]:
            return [
                *("--signature", str(tmp_path / "model.sig")),
                *("--public_key", str(tmp_path / key)),
                str(folder),
            ]

        spoilt = {name: tmp_path / name / "model" for name in ("changed", "added", "removed")}
        for folder in spoilt.values():
            (folder / "data").mkdir(parents=True)
            for path in (item for item in model.rglob("*") if item.is_file()):
                (folder / path.relative_to(model)).write_bytes(path.read_bytes())
        (spoilt["changed"] / "MLmodel").write_bytes(b"flavorS")
        (spoilt["added"] / "extra.py").write_bytes(b"")
        (spoilt["removed"] / "data/model.pkl").unlink()
        commands = [command(model), *(command(folder) for folder in spoilt.values())]
        good, *bad = STOCK.ask({"commands": [*commands, command(model, "other.pem")]})
        assert good["code"] == 0, good["said"]
        assert [found["code"] != 0 for found in bad] == [True] * 4, bad
