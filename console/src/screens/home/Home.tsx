/** What needs somebody, how the endpoints do, and what changed: the page to open in the morning. */

import { Group, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { answer, api } from "../../api/client";
import { CALM } from "../../api/live";
import { me } from "../../api/me";
import type { Schemas } from "../../api/types";
import { Link, useTeam } from "../../parts/link";
import { Page, Panel } from "../../parts/page";
import { Empty, Loaded } from "../../parts/states";
import { Status } from "../../parts/status";
import { When } from "../../parts/when";
import { Changes } from "./Changes";
import { Endpoints } from "./Endpoints";
import { Quota } from "./Quota";

export function Home() {
  const team = useTeam();
  const { data: person } = useQuery(me(team));
  const health = useQuery({
    queryKey: [team, "health"],
    queryFn: () => answer(api.GET("/health/ready")),
    refetchInterval: CALM,
  });
  return (
    <Page
      title="Home"
      about={
        <Loaded query={health} lines={1}>
          {(ready) => (
            <Group gap="xs">
              <Status
                of={ready.status}
                tone={ready.status === "ok" || ready.status === "ready" ? "good" : "bad"}
              />
              <span>version {ready.version}</span>
              <span>team {team}</span>
            </Group>
          )}
        </Loaded>
      }
    >
      <div className="main-and-side">
        <Stack gap="md">
          <Needs team={team} />
          <Endpoints team={team} />
        </Stack>
        <Stack gap="md">
          <Quota team={team} />
          {person?.permissions.includes("read_audit") && <Changes team={team} />}
        </Stack>
      </div>
    </Page>
  );
}

interface Need {
  key: string;
  what: React.ReactNode;
  state: React.ReactNode;
  at: string | null;
}

/** Everything that waits for a person, the most urgent first. */
function Needs({ team }: { team: string }) {
  const query = useQuery({ queryKey: [team, "needs"], queryFn: () => needs(team), refetchInterval: CALM });
  return (
    <Panel title="Needs attention" flush>
      <Loaded query={query}>
        {(found) =>
          found.length === 0 ? (
            <Empty title="Nothing waits for anybody">
              Approvals, rollouts that stopped, alerts and overdue reviews appear here.
            </Empty>
          ) : (
            <table className="table">
              <tbody>
                {found.map((need) => (
                  <tr key={need.key} className="linked">
                    <td>{need.state}</td>
                    <td>{need.what}</td>
                    <td className="number">
                      <Text size="xs" c="dimmed" component="span">
                        <When at={need.at} />
                      </Text>
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          )
        }
      </Loaded>
    </Panel>
  );
}

async function needs(team: string): Promise<Need[]> {
  const list = { limit: 200 };
  const [approvals, alerts, deployments, models] = await Promise.all([
    answer(api.GET("/api/v1/approvals", { params: { query: { ...list, status: "pending" } } })),
    answer(api.GET("/api/v1/alerts", { params: { query: { ...list, status: "open" } } })),
    answer(api.GET("/api/v1/deployments", { params: { query: { limit: LOOKED_AT } } })),
    answer(api.GET("/api/v1/governance/models", { params: { query: list } })),
  ]);
  const live = deployments.items.filter((each) => each.status !== "retired" && each.last_rollout_id);
  const last = await Promise.all(live.map((each) => lastRollout(each)));
  return [
    ...alerts.items.map((alert) => alertNeed(team, alert)),
    ...approvals.items.map((approval) => approvalNeed(team, approval)),
    ...last.filter(stopped).map((rollout) => rolloutNeed(team, rollout)),
    ...models.items.filter((model) => model.overdue).map((model) => reviewNeed(team, model)),
  ];
}

/** The endpoints, newest first, whose last rollout is looked at. */
const LOOKED_AT = 20;

interface Last {
  deployment: Schemas["Deployment"];
  rollout: Schemas["Rollout"] | undefined;
}

async function lastRollout(deployment: Schemas["Deployment"]): Promise<Last> {
  const { items } = await answer(
    api.GET("/api/v1/deployments/{deployment_id}/rollouts", {
      params: { path: { deployment_id: deployment.deployment_id }, query: { limit: 1 } },
    }),
  );
  return { deployment, rollout: items[0] };
}

function alertNeed(team: string, alert: Schemas["Alert"]): Need {
  return {
    key: alert.alert_id,
    state: <Status of={alert.severity} />,
    what: (
      <Link to="/$team/alerts/$alert" params={{ team, alert: alert.alert_id }}>
        {alert.title}
      </Link>
    ),
    at: alert.last_seen_at,
  };
}

function approvalNeed(team: string, approval: Schemas["Approval"]): Need {
  return {
    key: approval.approval_id,
    state: <Status of="pending">approval</Status>,
    what: (
      <Link to="/$team/approvals/$approval" params={{ team, approval: approval.approval_id }}>
        {approval.model_name}/{approval.model_version} to {approval.environment}, {approval.risk_level} risk
      </Link>
    ),
    at: approval.created_at,
  };
}

function stopped({ rollout }: Last): boolean {
  return rollout?.status === "failed" || rollout?.status === "rolled_back";
}

function rolloutNeed(team: string, { deployment, rollout }: Last): Need {
  return {
    key: deployment.deployment_id,
    state: <Status of={rollout?.status ?? "failed"} />,
    what: (
      <Link to="/$team/rollouts/$rollout" params={{ team, rollout: rollout?.rollout_id ?? "" }}>
        {rollout?.model_name}/{rollout?.model_version} to {deployment.environment}/{deployment.name}
      </Link>
    ),
    at: rollout?.finished_at ?? deployment.updated_at,
  };
}

function reviewNeed(team: string, model: Schemas["GovernedModel"]): Need {
  return {
    key: model.model_name,
    state: <Status of="overdue">review overdue</Status>,
    what: (
      <Link to="/$team/models/$name" params={{ team, name: model.model_name }}>
        {model.model_name}, owned by {model.owner}
      </Link>
    ),
    at: model.review_due_at,
  };
}
