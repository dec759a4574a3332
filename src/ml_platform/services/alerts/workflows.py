"""Telling people, patiently; nothing waits for it. `alerts.notify` tells of an alert, `alerts.send` a text."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from ml_platform.contracts.monitoring import AlertStatus
from ml_platform.kit.durable import JSON, Flow
from ml_platform.kit.errors import AppError
from ml_platform.kit.strictjson import digest
from ml_platform.services.access import Actor, Work, WorkFactory
from ml_platform.services.alerts.interfaces import Notifier
from ml_platform.services.alerts.repository import AlertRepository
from ml_platform.services.alerts.service import NOTIFY

SEND = "alerts.send"
_ATTEMPTS = 8
_KINDS = {"info": "info", "warning": "warning", "critical": "failure"}
"""What receivers call an alert's severity."""
_FIRST_WAIT = 5.0
_LONGEST_WAIT = 1800.0


class NotifyWorkflow:
    """Each attempt is a step, each wait between them parks: a receiver that is away for hours costs nothing.

    A process killed between sending and its record sends again: told twice is better than not told.
    """

    name = NOTIFY

    def __init__(self, factory: WorkFactory, notifier: Notifier, *, first_wait: float = _FIRST_WAIT) -> None:
        self._factory = factory
        self._notifier = notifier
        self._first_wait = first_wait

    def run(self, flow: Flow, *, alert_id: str, team_id: str, team_name: str) -> JSON:
        actor = Actor.system("alerts", team_id=team_id, team_name=team_name)
        outcome = _patiently(flow, self._first_wait, lambda: self._send(actor, alert_id))
        flow.step("record", self._record, actor, alert_id, _sentence(outcome))
        return outcome

    def _send(self, actor: Actor, alert_id: str) -> dict[str, Any]:
        with self._factory.begin(actor, write=False) as work:
            row = AlertRepository(work.session, work.team_id).alert(alert_id)
        if row is None or row.status == AlertStatus.RESOLVED:
            return {"delivered": 0, "over": True}
        body = f"{row.detail}\nteam {row.team_name}, {row.resource_kind} {row.resource_id}, alert {row.id}"
        try:
            return {"delivered": self._notifier.send(row.title, body, severity=_KINDS[row.severity])}
        except AppError as error:
            return {"failed": error.detail}

    def _record(self, actor: Actor, alert_id: str, text: str) -> None:
        with self._factory.begin(actor) as work:
            row = AlertRepository(work.session, work.team_id).alert(alert_id, lock=True)
            if row is not None:
                row.notification = text


@dataclass(frozen=True, slots=True)
class Message:
    """A text for people; `severity` is info, success, warning or failure."""

    title: str
    body: str
    severity: str = "info"


def send_later(work: Work, reference: str, message: Message) -> str:
    """Sends a text if and when the transaction of `work` commits, again and again while it fails.

    Answers the workflow's id, which is the same for the same reference.
    """
    workflow_id = f"ntf_{digest({'reference': reference})[:24]}"
    work.start_workflow(SEND, workflow_id, team_id=work.team_id, **asdict(message))
    return workflow_id


class SendWorkflow:
    """Tells a text, with the patience of `NotifyWorkflow`."""

    name = SEND

    def __init__(self, notifier: Notifier, *, first_wait: float = _FIRST_WAIT) -> None:
        self._notifier = notifier
        self._first_wait = first_wait

    def run(self, flow: Flow, *, team_id: str, title: str, body: str, severity: str) -> JSON:  # noqa: ARG002 - the group
        return _patiently(flow, self._first_wait, lambda: self._send(title, body, severity))

    def _send(self, title: str, body: str, severity: str) -> dict[str, Any]:
        try:
            return {"delivered": self._notifier.send(title, body, severity=severity)}
        except AppError as error:
            return {"failed": error.detail}


def _patiently(flow: Flow, first_wait: float, send: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    outcome: dict[str, Any] = {}
    for attempt in range(_ATTEMPTS):
        outcome = flow.step(f"send.{attempt}", send)
        if "failed" not in outcome:
            break
        if attempt + 1 < _ATTEMPTS:
            flow.sleep(min(_LONGEST_WAIT, first_wait * 4**attempt))
    return outcome


def _sentence(outcome: dict[str, Any]) -> str:
    if "failed" in outcome:
        return f"nobody could be told, in {_ATTEMPTS} attempts: {outcome['failed']}"[:1000]
    if outcome.get("over"):
        return "it was resolved before anybody was told"
    count = outcome["delivered"]
    return f"told {count} receiver{'s' if count != 1 else ''}" if count else "no receiver is configured"
