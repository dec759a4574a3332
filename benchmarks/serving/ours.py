"""Our inference server, as it runs: with keys, routing, validation, metrics and the prediction log."""

import hashlib
import secrets
import sys
from pathlib import Path

import msgspec
import payloads
from contestants import Command, Contestant, Grpc, v2_forms
from environments import Environment
from model import Model
from payloads import Form

from ml_platform.contracts.bundles import MANIFEST_NAME, digest_of
from ml_platform.contracts.serving import (
    INFERENCE_INTERNAL,
    PREDICT,
    READ_METRICS,
    ServingEndpoint,
    ServingKey,
    ServingRevision,
    Snapshot,
    encode_snapshot,
)

CALLER = "mlops_bench_" + secrets.token_hex(16)
ADMIN = "mlops_admin_" + secrets.token_hex(16)


def ours() -> list[Contestant]:
    def bearer(form: Form) -> Form:
        return form.with_headers(Authorization=f"Bearer {CALLER}")

    def v1(_: Model) -> dict[str, Form]:
        return {"V1": bearer(payloads.records("/v1/models/churn:predict", "instances"))}

    def all_forms(model: Model) -> dict[str, Form]:
        others = {
            "MLflow JSON": payloads.records("/models/churn/invocations", "dataframe_records"),
            **v2_forms(model),
        }
        return v1(model) | {title: bearer(form) for title, form in others.items()}

    engine = "onnxruntime_with_feed"
    return [
        Contestant("ours", "**ours**: keys, routing, validation, canary of two revisions, metrics, prediction log",
                   "ours", engine, None, _canary, all_forms,
                   grpc=Grpc()),
        Contestant("ours_alone", "ours, standalone with a keys file: one revision", "ours", engine, None,
                   _standalone, v1),
        Contestant("ours_isolated", "ours, the same MLflow model isolated (pyfunc)", "ours", "pandas_and_sklearn",
                   "mlflow", _isolated, v1),
    ]  # fmt: skip


def _keys(team: str) -> tuple[ServingKey, ...]:
    def key(name: str, token: str, *permissions: str) -> ServingKey:
        digest = hashlib.sha256(token.encode()).hexdigest()
        return ServingKey(key_id=name, token_sha256=digest, team=team, permissions=permissions)

    return key("caller", CALLER, PREDICT), key("admin", ADMIN, PREDICT, INFERENCE_INTERNAL, READ_METRICS)


def _ours_command(home: Path, port: int, *more: object) -> list:
    return [
        sys.executable, "-m", "ml_platform.inference.main", "--port", port, "--workers", "1",
        "--state-dir", home / "state", *more,
    ]  # fmt: skip


def _canary(_: None, model: Model) -> Command:
    """Inside the platform: a snapshot of two revisions at 90 and 10, from the server's own disk.

    There is no control plane: what the server does then is keep to its last snapshot.
    """

    def command(home: Path, port: int, grpc: int) -> list:
        (home / "state").mkdir()
        (home / "token").write_text("mlops_nobody_asks")
        digest = digest_of((model.bundle / MANIFEST_NAME).read_bytes())
        revisions = tuple(
            ServingRevision(
                revision_id=f"churn-{version}", model_name="churn", model_version=version, weight=weight,
                bundle_uri=str(model.bundle), bundle_digest=digest,
            )
            for version, weight in (("1", 90), ("2", 10))
        )  # fmt: skip
        endpoint = ServingEndpoint(
            team="bench",
            environment="production",
            name="churn",
            deployment_id="dep-churn",
            revisions=revisions,
        )
        snapshot = Snapshot(version=1, keys=_keys("bench"), endpoints=(endpoint,))
        (home / "state" / "snapshot.json").write_bytes(encode_snapshot(snapshot))
        return _ours_command(
            home, port, "--control-url", "http://127.0.0.1:9", "--token-file", home / "token",
            "--storage-roots", model.bundle.parent, "--grpc-port", grpc,
        )  # fmt: skip

    return command


def _standalone(_: None, model: Model) -> Command:
    return lambda home, port, __: _ours_command(
        home, port, "--model-dir", model.bundle, "--keys-file", _keys_file(home)
    )


def _isolated(env: Environment, model: Model) -> Command:
    """In the same environment in which `mlflow models serve` runs the same model directory."""

    return lambda home, port, __: _ours_command(
        home, port, "--model-dir", model.isolated, "--keys-file", _keys_file(home),
        "--pyfunc-python", env.bin / "python",
    )  # fmt: skip


def _keys_file(home: Path) -> Path:
    path = home / "keys.json"
    path.write_bytes(msgspec.json.encode(_keys("default")))
    return path
