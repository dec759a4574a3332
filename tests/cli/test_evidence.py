"""The page that an approver reads at a terminal."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ml_platform.cli.evidence import PARTS, page
from ml_platform.cli.output import Format, show_parts
from ml_platform.contracts.governance import ApprovalDetail, ApprovalStatus, RiskLevel
from ml_platform.services.governance import RULES

ASKED = datetime(2026, 3, 1, 12, tzinfo=UTC)


def approval(evidence: dict[str, Any]) -> ApprovalDetail:
    return ApprovalDetail(
        approval_id="apr_1",
        status=ApprovalStatus.PENDING,
        automatic=False,
        subject_id="rol_1",
        model_name="churn",
        model_version=3,
        environment="production",
        digest="0" * 64,
        risk_level=RiskLevel.MEDIUM,
        risk_score=20,
        requirement=RULES[RiskLevel.MEDIUM].describe(),
        missing=["manager"],
        requested_by="erin",
        justification=None,
        created_at=ASKED,
        expires_at=ASKED + timedelta(hours=48),
        decided_at=None,
        reason=None,
        votes=[],
        evidence=evidence,
    )


EVIDENCE = {
    "stages": {
        "validate": {"signature": True, "model_card": {"limitations": "one country"}, "risk": {"score": 20}},
        "security": {
            "secrets": [],
            "serialisation": [{"path": "model.pkl", "severity": "code"}],
            "advisories": "not scanned",
            "bill_of_materials": {"components": [{"name": "numpy"}]},
            "requirements": [f"package-{number}" for number in range(40)],
        },
        "test": {
            "metrics": {"roc_auc": 0.84},
            "runtime": {"p95_ms": 0.4, "budget": {"p95_ms": 5.0, "memory_mb": None}},
        },
    },
    "risk": {"assessments": {"business_impact": {"score": 4, "reason": "a discount"}}},
    "config": {"replicas": 1},
    "serving_now": ["churn/2"],
}


class TestThePage:
    def test_tells_every_fact_of_every_stage_once(self) -> None:
        found = {(row["stage"], row["what"]): row["found"] for row in page(approval(EVIDENCE))["evidence"]}
        assert found == {
            ("validate", "signature"): True,
            ("security", "secrets"): "none",
            ("security", "serialisation"): "path model.pkl, severity code",
            ("security", "advisories"): "not scanned",
            ("security", "bill of materials"): "1 item; --output json lists them",
            ("security", "requirements"): "40 items; --output json lists them",
            ("test", "metrics"): {"roc_auc": 0.84},
            ("test", "runtime: p95 ms"): 0.4,
            ("test", "runtime: budget"): {"p95_ms": 5.0, "memory_mb": None},
            ("configuration", "replicas"): 1,
        }

    def test_shows_risk_card_and_who_must_agree(self, capsys: pytest.CaptureFixture[str]) -> None:
        show_parts(page(approval(EVIDENCE)), Format.TABLE, ["approval_id", "needs", "serving_now"], PARTS)
        text = capsys.readouterr().out
        for said in (
            "2 of manager, senior_data_scientist",
            "within 48 h",
            "churn/2",
            "a discount",
            "one country",
        ):
            assert said in text
        assert "{" not in text

    def test_says_which_evidence_raised_an_answer(self) -> None:
        answered = {
            "score": 4,
            "reason": "two flags",
            "answered": 3,
            "because": ["churn@1: female holds gender"],
        }
        found = page(approval({"risk": {"assessments": {"data_sensitivity": answered}}}))["risk"]
        assert found[0]["score"] == 4
        assert found[0]["reason"] == "two flags (raised from 3: churn@1: female holds gender)"

    def test_is_there_before_any_stage_has_run(self) -> None:
        assert page(approval({}))["evidence"] == []
