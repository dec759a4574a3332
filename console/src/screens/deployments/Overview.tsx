/** What gets which traffic, how each revision does, and what the endpoint is. */

import { Group, Stack } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Facts } from "../../parts/facts";
import { LinkButton } from "../../parts/link";
import { Copyable } from "../../parts/more";
import { Panel } from "../../parts/page";
import { Loaded } from "../../parts/states";
import { bag } from "../../parts/unknown";
import { When } from "../../parts/when";
import { type Deployment, rollout } from "./api";
import { Canary } from "./Canary";
import { copies } from "./Deployments";
import { Findings } from "./evidence/Findings";
import { LiveCharts } from "./LiveCharts";
import { Revisions } from "./Revisions";
import { Strip } from "./Stages";

export function Overview({ team, found }: { team: string; found: Deployment }) {
  return (
    <Stack gap="md">
      {found.active_rollout_id && <UnderWay team={team} id={found.active_rollout_id} />}
      <Revisions team={team} found={found} />
      {found.revisions.length > 0 && <LiveCharts team={team} id={found.deployment_id} />}
      <Panel title="Endpoint">
        <Facts
          of={[
            [
              "address",
              <Copyable key="a" label="Copy the address">
                {found.endpoint}
              </Copyable>,
            ],
            ["copies", copies(found)],
            ["made by", found.created_by],
            ["made", <When key="m" at={found.created_at} />],
            [
              "id",
              <Copyable key="i" label="Copy the id">
                {found.deployment_id}
              </Copyable>,
            ],
          ]}
        />
        <Findings of={bag(found.config)} without={["canary"]} />
      </Panel>
    </Stack>
  );
}

function UnderWay({ team, id }: { team: string; id: string }) {
  const query = useQuery(rollout(team, id));
  return (
    <Loaded query={query}>
      {(found) => (
        <Stack gap="md">
          <Panel
            title={`On its way: ${found.model_name}/${found.model_version}`}
            actions={
              <Group gap="xs">
                {found.approval_id && found.status === "pending_approval" && (
                  <LinkButton to="/$team/approvals/$approval" params={{ team, approval: found.approval_id }}>
                    Its approval
                  </LinkButton>
                )}
                <LinkButton to="/$team/rollouts/$rollout" params={{ team, rollout: id }}>
                  Open the rollout
                </LinkButton>
              </Group>
            }
          >
            <Strip stages={found.stages} />
          </Panel>
          {found.canary.length > 0 && (
            <Canary steps={found.canary} plan={bag(found.config.canary)} over={false} />
          )}
        </Stack>
      )}
    </Loaded>
  );
}
