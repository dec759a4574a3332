"""Registered models and their versions."""

import builtins
from typing import Any

from ml_platform.contracts.governance import ModelRisk
from ml_platform.contracts.lineage import LineageKind
from ml_platform.contracts.models import GateMetric, ModelSignature, ModelSigningKey, ModelVersion
from ml_platform.contracts.models import Model as ModelData
from ml_platform.sdk.errors import NotFoundError
from ml_platform.sdk.lineage import Lineage, lineage_of
from ml_platform.sdk.objects import PlatformObject
from ml_platform.sdk.transport import Transport, at


class Model(PlatformObject[ModelVersion]):
    """One version of a registered model."""

    _shown = ("model_id", "name", "version", "aliases", "metrics", "created_by", "created_at")

    @property
    def model_id(self) -> str:
        return self._data.model_id

    @property
    def name(self) -> str:
        return self._data.name

    @property
    def version(self) -> int:
        return self._data.version

    @property
    def metrics(self) -> dict[str, float]:
        return dict(self._data.metrics)

    @property
    def quality(self) -> float | None:
        """The value of the gate's metric, turned so that larger is better; None without a gate."""
        gate = self._data.gate
        if gate is None or gate.metric is None or gate.value is None:
            return None
        return -gate.value if GateMetric(gate.metric).lower_is_better else gate.value

    def lineage(self, **options: Any) -> Lineage:
        """Data, code, job and run that it was made of, and where it serves; options: `Platform.lineage`."""
        return lineage_of(self._transport, LineageKind.MODEL, f"{self.name}/{self.version}", **options)


class Models:
    """`platform.models`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self, model_id: str) -> Model:
        """A version, by `name/version`, `name@alias`, or `name` for the newest."""
        found = self._transport.get(at("models", *model_id.split("/")), ModelData)
        if found.version is None:
            raise NotFoundError(f"model {model_id!r} has no version yet")
        return Model(self._transport, found.version)

    def signature(self, model_id: str) -> ModelSignature:
        """What vouches for a version's files: a Sigstore bundle of OpenSSF model signing."""
        found = self.get(model_id)
        path = at("models", found.name, "versions", str(found.version), "signature")
        return self._transport.get(path, ModelSignature)

    def signing_key(self) -> ModelSigningKey:
        """The public key of this installation by which those are checked."""
        return self._transport.get("/signing-key", ModelSigningKey)

    def list(self) -> list[ModelData]:
        return list(self._transport.pages("/models", ModelData))

    def versions(self, name: str) -> builtins.list[Model]:
        """Newest first."""
        found = self._transport.pages(at("models", name, "versions"), ModelVersion)
        return [Model(self._transport, item) for item in found]

    def register(self, name: str, run_id: str, *, artifact_path: str | None = None, **details: Any) -> Model:
        """Registers a model that an MLflow run logged."""
        body = {"run_id": run_id, "artifact_path": artifact_path, **details}
        return Model(
            self._transport, self._transport.post(at("models", name, "versions"), ModelVersion, body)
        )

    def set_alias(self, name: str, alias: str, version: int) -> Model:
        """Makes `name@alias` mean this version."""
        path = at("models", name, "aliases", alias)
        return Model(self._transport, self._transport.put(path, ModelVersion, {"version": version}))

    def assess_risk(self, name: str, assessments: dict[str, tuple[int, str]]) -> ModelRisk:
        """Answers the risk questionnaire: `{"business_impact": (3, "why"), ...}`, five answers of 0 to 10."""
        body = {key: {"score": score, "reason": reason} for key, (score, reason) in assessments.items()}
        return self._transport.put(at("models", name, "risk"), ModelRisk, body)

    def risk(self, name: str) -> ModelRisk:
        return self._transport.get(at("models", name, "risk"), ModelRisk)
