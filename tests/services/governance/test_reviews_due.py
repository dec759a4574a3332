"""When a model in production has to be reviewed."""

from datetime import UTC, datetime, timedelta

import pytest

from ml_platform.services.governance.interfaces import ServesInProduction
from ml_platform.services.governance.register import due_of, overdue_alert
from ml_platform.services.governance.tables import ModelRiskRow

SINCE = datetime(2026, 1, 1, tzinfo=UTC)
USE = ServesInProduction(("churn/1",), SINCE, "usr_1")


def risk(level: str) -> ModelRiskRow:
    return ModelRiskRow(level=level, answered_at=SINCE - timedelta(days=400))


class TestDue:
    @pytest.mark.parametrize(("level", "days"), [("low", 30), ("medium", 14), ("high", 7)])
    def test_it_counts_from_production_and_then_from_the_last_review(self, level: str, days: int) -> None:
        every = timedelta(days=days)
        assert due_of(risk(level), USE, None, None).review == SINCE + every
        last = SINCE + timedelta(days=3)
        assert due_of(risk(level), USE, last, None).review == last + every

    def test_only_high_risk_is_revalidated_every_month(self) -> None:
        assert due_of(risk("medium"), USE, None, None).revalidation is None
        assert due_of(risk("high"), USE, None, None).revalidation == SINCE + timedelta(days=30)
        done = SINCE + timedelta(days=20)
        assert due_of(risk("high"), USE, done, done).revalidation == done + timedelta(days=30)

    def test_what_does_not_serve_in_production_is_never_due(self) -> None:
        due = due_of(risk("high"), None, None, None)
        assert not due.overdue(SINCE + timedelta(days=9999))
        assert not due_of(None, USE, None, None).overdue(SINCE + timedelta(days=9999))

    def test_a_review_without_rows_leaves_the_revalidation_due(self) -> None:
        now = SINCE + timedelta(days=31)
        assert due_of(risk("high"), USE, now, None).overdue(now)
        assert not due_of(risk("high"), USE, now, now).overdue(now)


class TestTheAlert:
    def test_it_becomes_critical_after_a_week(self) -> None:
        due = due_of(risk("medium"), USE, None, None)
        assert overdue_alert("churn", "medium", due, SINCE + timedelta(days=15)).severity == "warning"
        assert overdue_alert("churn", "medium", due, SINCE + timedelta(days=22)).severity == "critical"
