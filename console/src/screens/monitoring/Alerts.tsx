import { SegmentedControl } from "@mantine/core";
import { useState } from "react";
import { answer, api } from "../../api/client";
import { CALM } from "../../api/live";
import { usePages } from "../../api/pages";
import { Link } from "../../parts/link";
import { Panel } from "../../parts/page";
import { Empty } from "../../parts/states";
import { Status } from "../../parts/status";
import { PagedTable } from "../../parts/table";
import { When } from "../../parts/when";

const SHOWN = ["open", "acknowledged", "resolved", "all"] as const;

/** What was raised, the newest first. */
export function Alerts({ team }: { team: string }) {
  const [shown, setShown] = useState<(typeof SHOWN)[number]>("open");
  const status = shown === "all" ? undefined : shown;
  const pages = usePages(
    [team, "alert-list", shown],
    (cursor) => answer(api.GET("/api/v1/alerts", { params: { query: { limit: 100, cursor, status } } })),
    CALM,
  );
  return (
    <Panel
      title="Alerts"
      flush
      actions={
        <SegmentedControl
          aria-label="Which alerts"
          size="xs"
          data={[...SHOWN]}
          value={shown}
          onChange={(value) => setShown(value as typeof shown)}
        />
      }
    >
      <PagedTable
        label="Alerts"
        pages={pages}
        id={(alert) => alert.alert_id}
        empty={<Empty title={shown === "all" ? "Nothing was ever raised" : `No alert is ${shown}`} />}
        columns={[
          { name: "Severity", cell: (alert) => <Status of={alert.severity} /> },
          {
            name: "Alert",
            cell: (alert) => (
              <Link to="/$team/alerts/$alert" params={{ team, alert: alert.alert_id }}>
                {alert.title}
              </Link>
            ),
          },
          { name: "State", cell: (alert) => <Status of={alert.status} /> },
          { name: "Times", cell: (alert) => alert.occurrences, number: true },
          { name: "Last seen", cell: (alert) => <When at={alert.last_seen_at} />, number: true },
        ]}
      />
    </Panel>
  );
}
