"""Commits two events and is killed when the first is on its way: `before` it is sent, or `after`."""

import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

from ml_platform.integrations.openlineage import HttpReceiver
from ml_platform.kit.clock import utc_now
from ml_platform.kit.db import Database
from ml_platform.kit.ids import new_id
from ml_platform.services.lineage import EventDelivery
from ml_platform.services.lineage.tables import LineageEventRow


class Killed(HttpReceiver):
    def __init__(self, url: str, moment: str) -> None:
        super().__init__(url)
        self._moment = moment

    def send(self, event: Mapping[str, Any]) -> None:
        if self._moment == "after":
            super().send(event)
        os.kill(os.getpid(), signal.SIGKILL)


def main(url: str, receiver: str, moment: str, run_id: str) -> None:
    database = Database(url)
    with database.write() as session:
        for kind in ("START", "COMPLETE"):
            session.add(
                LineageEventRow(
                    id=new_id("lev"),
                    receiver="http",
                    run_id=run_id,
                    event={"eventType": kind, "run": {"runId": run_id}},
                    created_at=utc_now(),
                    not_before=utc_now(),
                    attempts=0,
                )
            )
    EventDelivery(database, Killed(receiver, moment)).deliver_due()


if __name__ == "__main__":
    main(*sys.argv[1:])
