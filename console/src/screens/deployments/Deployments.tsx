/** Every endpoint of the team: what serves there, what is on its way, and how it does. */

import { SegmentedControl } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { answer, api } from "../../api/client";
import { CALM } from "../../api/live";
import { usePages } from "../../api/pages";
import type { Schemas } from "../../api/types";
import { milliseconds, number, percent } from "../../parts/figures";
import { Link, useTeam } from "../../parts/link";
import { Page, Panel } from "../../parts/page";
import { Empty } from "../../parts/states";
import { Status } from "../../parts/status";
import { PagedTable } from "../../parts/table";
import { When } from "../../parts/when";
import { type Deployment, metrics } from "./api";

const ALL = "all";

export function Deployments() {
  const team = useTeam();
  const [environment, setEnvironment] = useState<string>(ALL);
  const pages = usePages<Deployment>(
    [team, "deployments", "list", environment],
    (cursor) =>
      answer(
        api.GET("/api/v1/deployments", {
          params: {
            query: {
              limit: 100,
              cursor,
              environment: environment === ALL ? undefined : (environment as Schemas["Environment"]),
            },
          },
        }),
      ),
    CALM,
  );
  return (
    <Page
      title="Deployments"
      about="Endpoints, by environment and name. Their address stays while the versions behind it change."
      actions={
        <SegmentedControl
          size="xs"
          aria-label="Environment"
          data={[ALL, "production", "staging", "dev"]}
          value={environment}
          onChange={setEnvironment}
        />
      }
    >
      <Panel flush>
        <PagedTable
          pages={pages}
          label="Deployments"
          id={(each) => each.deployment_id}
          empty={
            <Empty title="Nothing is deployed here yet">
              Choose a version under Models and deploy it, or: mlops deploy --model NAME --environment staging
            </Empty>
          }
          columns={[
            { name: "Endpoint", cell: (each) => <Name team={team} of={each} /> },
            { name: "State", cell: (each) => <State of={each} /> },
            { name: "Serves", cell: (each) => <Serves team={team} of={each} /> },
            { name: "On its way", cell: (each) => <OnItsWay team={team} of={each} /> },
            {
              name: "Requests/s",
              number: true,
              cell: (each) => <Measured team={team} of={each} what="rate" />,
            },
            {
              name: "Errors",
              number: true,
              cell: (each) => <Measured team={team} of={each} what="errors" />,
            },
            { name: "p95", number: true, cell: (each) => <Measured team={team} of={each} what="p95" /> },
            { name: "Copies", number: true, cell: (each) => copies(each) },
            { name: "Changed", number: true, cell: (each) => <When at={each.updated_at} /> },
          ]}
        />
      </Panel>
    </Page>
  );
}

function Name({ team, of }: { team: string; of: Deployment }) {
  return (
    <Link to="/$team/deployments/$deployment" params={{ team, deployment: of.deployment_id }}>
      {of.environment}/{of.name}
    </Link>
  );
}

export function State({ of }: { of: Deployment }) {
  if (of.rollout_paused) return <Status of="waiting">canary, paused</Status>;
  return <Status of={of.status} />;
}

function Serves({ team, of }: { team: string; of: Deployment }) {
  const [name, version] = of.serving_model_id?.split("/") ?? [];
  if (!name || !version) return <>nothing yet</>;
  return (
    <Link to="/$team/models/$name/$version" params={{ team, name, version }}>
      {of.serving_model_id}
    </Link>
  );
}

function OnItsWay({ team, of }: { team: string; of: Deployment }) {
  if (!of.active_rollout_id) return <>–</>;
  return (
    <Link to="/$team/rollouts/$rollout" params={{ team, rollout: of.active_rollout_id }}>
      {of.rollout_model_id}, {of.rollout_status?.replaceAll("_", " ")}
    </Link>
  );
}

/** By the last hour; rows out of sight ask for nothing. */
function Measured({ team, of, what }: { team: string; of: Deployment; what: "rate" | "errors" | "p95" }) {
  const { data } = useQuery({ ...metrics(team, of.deployment_id, "1h"), enabled: of.status !== "retired" });
  if (!data) return <>–</>;
  if (what === "rate") return <>{number(data.requests_per_second, 2)}</>;
  if (what === "errors") return <>{percent(data.error_rate)}</>;
  const slowest = Math.max(...data.revisions.map((revision) => revision.latency_ms_p95 ?? -1), -1);
  return <>{milliseconds(slowest < 0 ? null : slowest)}</>;
}

export function copies(of: Deployment): string {
  if (!of.auto_scale) return String(of.replicas);
  return of.max_replicas ? `${of.replicas} to ${of.max_replicas}` : `${of.replicas} or more`;
}
