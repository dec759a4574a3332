/** One rollout, live: its nine stages with what they found, its canary, and why it stopped. */

import { Alert, Group, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";
import { answer, api } from "../../api/client";
import type { Schemas } from "../../api/types";
import { ActButton } from "../../parts/ask";
import { Facts } from "../../parts/facts";
import { span } from "../../parts/figures";
import { Link, useTeam } from "../../parts/link";
import { More } from "../../parts/more";
import { Page, Panel } from "../../parts/page";
import { Loaded } from "../../parts/states";
import { Status } from "../../parts/status";
import { bag, list } from "../../parts/unknown";
import { When } from "../../parts/when";
import { CanaryActions } from "./Actions";
import { changing, deployment, moves, rollout } from "./api";
import { Canary } from "./Canary";
import { Findings } from "./evidence/Findings";
import { LiveCharts } from "./LiveCharts";
import { Stages, Strip } from "./Stages";

type Detail = Schemas["RolloutDetail"];

export function Rollout() {
  const team = useTeam();
  const { rollout: id = "" } = useParams({ strict: false });
  const query = useQuery(rollout(team, id));
  return (
    <Loaded query={query} lines={8}>
      {(found) => <OneRollout team={team} found={found} />}
    </Loaded>
  );
}

function OneRollout({ team, found }: { team: string; found: Detail }) {
  const plan = bag(found.config.canary);
  const applies = found.environment === "production" && list(plan.steps).length > 1;
  const live = moves(found.status);
  return (
    <Page
      title={`${found.model_name}/${found.model_version} to ${found.environment}`}
      trail={[
        <Link key="all" to="/$team/deployments" params={{ team }}>
          Deployments
        </Link>,
        <Link
          key="one"
          to="/$team/deployments/$deployment"
          params={{ team, deployment: found.deployment_id }}
          search={{ tab: "rollouts" }}
        >
          Its endpoint
        </Link>,
      ]}
      about={
        <Group gap="sm">
          <Status of={found.status} />
          <span>
            asked for by {found.requested_by} <When at={found.created_at} />, {live ? "so far" : "took"}{" "}
            {span(found.created_at, found.finished_at)}
          </span>
        </Group>
      }
      actions={live && <RolloutActions team={team} found={found} />}
    >
      {found.reason && (
        <Alert color={found.status === "succeeded" ? "gray" : "red"} variant="outline" title="Why it ended">
          <Text size="sm">{found.reason}</Text>
        </Alert>
      )}
      {found.paused_at && (
        <Alert color="yellow" variant="outline" title="The canary is held where it is">
          <Text size="sm">
            {found.paused_by} paused it <When at={found.paused_at} />. A failure still rolls it back.
          </Text>
        </Alert>
      )}
      <Panel>
        <Strip stages={found.stages} />
        <What team={team} found={found} />
      </Panel>
      <Panel title="Stages" flush>
        <Stages team={team} stages={found.stages} />
      </Panel>
      {found.status === "canary" && <LiveCharts team={team} id={found.deployment_id} />}
      {(found.canary.length > 0 || (live && applies)) && (
        <Canary steps={found.canary} plan={plan} over={!live} />
      )}
      <Panel title="Configuration">
        <Findings of={found.config} without={["canary"]} />
        <More label="Plan of the canary">
          <Findings of={plan} />
        </More>
      </Panel>
    </Page>
  );
}

function What({ team, found }: { team: string; found: Detail }) {
  return (
    <Facts
      of={[
        [
          "model version",
          <Link
            key="model"
            to="/$team/models/$name/$version"
            params={{ team, name: found.model_name, version: String(found.model_version) }}
          >
            {found.model_name}/{found.model_version}
          </Link>,
        ],
        ["why", found.justification],
        [
          "approval",
          found.approval_id ? (
            <Link
              key="approval"
              to="/$team/approvals/$approval"
              params={{ team, approval: found.approval_id }}
            >
              {found.approval_id}
            </Link>
          ) : (
            "none is needed"
          ),
        ],
        ["revision", found.revision_id],
        ...(found.purpose && found.purpose !== "traffic"
          ? [["purpose", found.purpose] as [string, string]]
          : []),
      ]}
    />
  );
}

function RolloutActions({ team, found }: { team: string; found: Detail }) {
  const { data } = useQuery({ ...deployment(team, found.deployment_id), enabled: found.status === "canary" });
  return (
    <>
      {found.status === "canary" && data && <CanaryActions of={data} />}
      <ActButton
        needs={changing(found.environment)}
        color="red"
        variant="outline"
        done="The rollout was cancelled"
        confirm={{
          title: "Cancel this rollout?",
          text: "It ends where it is. What served before serves on, with all traffic.",
        }}
        act={() =>
          answer(
            api.POST("/api/v1/rollouts/{rollout_id}/cancel", {
              params: { path: { rollout_id: found.rollout_id } },
            }),
          )
        }
      >
        Cancel the rollout
      </ActButton>
    </>
  );
}
