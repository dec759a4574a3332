/** The traffic split, and each revision's figures in a window. */

import { SegmentedControl, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { milliseconds, number, percent, roughly } from "../../parts/figures";
import { Link } from "../../parts/link";
import { Panel } from "../../parts/page";
import { Empty, Failed } from "../../parts/states";
import { Status } from "../../parts/status";
import { Table } from "../../parts/table";
import { When } from "../../parts/when";
import { type Deployment, metrics, type Traffic } from "./api";

type Revision = Deployment["revisions"][number];

export function Revisions({ team, found }: { team: string; found: Deployment }) {
  const [window, setWindow] = useState("1h");
  const query = useQuery({
    ...metrics(team, found.deployment_id, window),
    enabled: found.status !== "retired",
  });
  const of = new Map<string, Traffic>(query.data?.revisions.map((each) => [each.revision_id, each]));
  const covered = query.data?.covered_seconds ?? 0;
  const measured = (name: string, show: (traffic: Traffic | undefined) => string) => ({
    name,
    number: true,
    cell: (each: Revision) => show(of.get(each.revision_id)),
  });
  return (
    <Panel
      title="Traffic"
      flush
      actions={
        <SegmentedControl
          size="xs"
          aria-label="Window"
          data={["5m", "1h", "24h"]}
          value={window}
          onChange={setWindow}
        />
      }
    >
      <div style={{ padding: "0.25rem 1rem 0.5rem" }}>
        <Split revisions={found.revisions} />
        {query.error && <Failed error={query.error} again={() => query.refetch()} />}
        {query.data && covered < query.data.window_seconds && (
          <Text size="xs" c="dimmed">
            The inference server remembers the last {roughly(covered)} of this window.
          </Text>
        )}
      </div>
      <Table
        label="Revisions"
        rows={found.revisions}
        id={(each) => each.revision_id}
        empty={
          <Empty title="Nothing is loaded here">
            {found.status === "retired"
              ? "The endpoint is retired. Deploying to its name takes it up again."
              : "A revision is loaded when its rollout reaches the stage deploy."}
          </Empty>
        }
        columns={[
          {
            name: "Version",
            cell: (each) => (
              <Link
                to="/$team/models/$name/$version"
                params={{ team, name: each.model_name, version: String(each.model_version) }}
              >
                {each.model_name}/{each.model_version}
              </Link>
            ),
          },
          { name: "State", cell: (each) => <Status of={each.status} /> },
          { name: "Traffic", number: true, cell: (each) => `${number(each.weight)} %` },
          measured("Requests", (traffic) => number(traffic?.requests)),
          measured("Requests/s", (traffic) => number(traffic?.requests_per_second, 2)),
          measured("Errors", (traffic) => (traffic?.requests ? percent(traffic.error_rate) : "–")),
          measured("p50", (traffic) => milliseconds(traffic?.latency_ms_p50)),
          measured("p95", (traffic) => milliseconds(traffic?.latency_ms_p95)),
          measured("p99", (traffic) => milliseconds(traffic?.latency_ms_p99)),
          { name: "Runtime", cell: (each) => each.runtime },
          { name: "Since", number: true, cell: (each) => <When at={each.created_at} /> },
        ]}
      />
    </Panel>
  );
}

function Split({ revisions }: { revisions: readonly Revision[] }) {
  const parts = revisions.filter((each) => each.weight > 0);
  if (parts.length === 0) return null;
  const said = parts.map((each) => `${each.model_name}/${each.model_version} ${number(each.weight)} %`);
  return (
    <div className="split" role="img" aria-label={`Traffic: ${said.join(", ")}`}>
      {parts.map((each, index) => (
        <span key={each.revision_id} style={{ flexGrow: each.weight, flexBasis: 0 }}>
          {each.weight >= 12 ? said[index] : ""}
        </span>
      ))}
    </div>
  );
}
