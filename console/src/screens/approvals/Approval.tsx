/** One request for approval on one page: what is asked, how it compares, the risk, the evidence, and the decision. */

import "./approvals.css";

import { Alert, Grid, Group, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";
import { answer, api } from "../../api/client";
import { CALM, LIVE } from "../../api/live";
import type { Schemas } from "../../api/types";
import { Facts } from "../../parts/facts";
import { Link, LinkButton, useTeam } from "../../parts/link";
import { Page, Panel } from "../../parts/page";
import { Loaded } from "../../parts/states";
import { Status } from "../../parts/status";
import { bag } from "../../parts/unknown";
import { When } from "../../parts/when";
import { State } from "./Approvals";
import { Card } from "./Card";
import { Compared } from "./Compared";
import { Decide } from "./Decide";
import { Evidence } from "./Evidence";
import { Quorum } from "./Quorum";
import { Risk } from "./Risk";
import { Votes } from "./Votes";

type Detail = Schemas["ApprovalDetail"];

export function Approval() {
  const team = useTeam();
  const { approval: id = "" } = useParams({ strict: false });
  const query = useQuery({
    queryKey: [team, "approvals", id],
    queryFn: () =>
      answer(api.GET("/api/v1/approvals/{approval_id}", { params: { path: { approval_id: id } } })),
    refetchInterval: ({ state }) => (state.data?.status === "pending" ? LIVE : CALM),
  });
  return (
    <Loaded query={query} lines={8}>
      {(found) => <OneApproval team={team} found={found} />}
    </Loaded>
  );
}

function OneApproval({ team, found }: { team: string; found: Detail }) {
  const stages = bag(found.evidence.stages);
  return (
    <Page
      title={`${found.model_name}/${found.model_version} to ${found.environment}`}
      trail={[
        <Link key="all" to="/$team/approvals" params={{ team }}>
          Approvals
        </Link>,
      ]}
      about={
        <Group gap="sm">
          <State of={found} />
          <Status of={found.risk_level}>{`${found.risk_level} risk, ${found.risk_score} of 50`}</Status>
          <span>
            {found.requested_by} asked <When at={found.created_at} />
          </span>
        </Group>
      }
      actions={
        <LinkButton to="/$team/rollouts/$rollout" params={{ team, rollout: found.subject_id }}>
          Its rollout
        </LinkButton>
      }
    >
      <Grid gap="md">
        <Grid.Col span={{ base: 12, lg: 4 }} order={{ base: 1, lg: 2 }}>
          <Stack gap="md">
            <Panel title="Decision">
              <Outcome found={found} />
              <Quorum team={team} of={found} />
              <Decide team={team} of={found} />
            </Panel>
            <Votes of={found} />
          </Stack>
        </Grid.Col>
        <Grid.Col span={{ base: 12, lg: 8 }} order={{ base: 2, lg: 1 }}>
          <Stack gap="md">
            <Asked team={team} found={found} />
            <Compared team={team} of={found} />
            <Risk team={team} of={found} />
            <Card team={team} of={found} card={bag(bag(stages.validate).model_card)} />
            <Evidence stages={stages} config={bag(found.evidence.config)} />
          </Stack>
        </Grid.Col>
      </Grid>
    </Page>
  );
}

function Asked({ team, found }: { team: string; found: Detail }) {
  return (
    <Panel title="What is asked">
      <Facts
        of={[
          [
            "deploy",
            <Link
              key="model"
              to="/$team/models/$name/$version"
              params={{ team, name: found.model_name, version: String(found.model_version) }}
            >
              {found.model_name}/{found.model_version}
            </Link>,
          ],
          ["to", found.environment],
          ["because", found.justification ?? "no reason was given"],
          ["asked for by", found.requested_by],
          [
            "bound to",
            <span key="digest" className="mono">
              {found.digest}
            </span>,
          ],
        ]}
      />
      <Text size="xs" c="dimmed">
        The approval is bound to this artifact, its configuration, the risk as answered and the model card.
        When one of them changes before it is deployed, the approval is void.
      </Text>
    </Panel>
  );
}

function Outcome({ found }: { found: Detail }) {
  if (found.status === "pending")
    return (
      <Text size="sm">
        It lapses <When at={found.expires_at} />
        {found.reminders
          ? `; those who are missing were told ${found.reminders === 1 ? "once" : `${found.reminders} times`} again`
          : ""}
        .
      </Text>
    );
  const good = found.status === "approved" && !found.glass_broken;
  return (
    <Alert color={good ? "teal" : "red"} variant="outline" title={<State of={found} />}>
      <Text size="sm">
        {found.reason ?? (found.automatic ? "Low risk, and every check passed." : "")}{" "}
        <When at={found.decided_at} />
      </Text>
    </Alert>
  );
}
