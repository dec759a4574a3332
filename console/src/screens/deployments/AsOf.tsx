/** What was live at a moment, since when, and on whose approval; and back to it. */

import { Alert, Button, Group, Stack, Text, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { answer, api } from "../../api/client";
import type { Schemas } from "../../api/types";
import { ActButton } from "../../parts/ask";
import { Facts } from "../../parts/facts";
import { local, number } from "../../parts/figures";
import { Link } from "../../parts/link";
import { Panel } from "../../parts/page";
import { Empty, Loaded } from "../../parts/states";
import { Table } from "../../parts/table";
import { changing, type Deployment } from "./api";

type Past = Schemas["DeploymentAsOf"];

export function AsOf({ team, found }: { team: string; found: Deployment }) {
  const [typed, setTyped] = useState(() => forInput(new Date()));
  const [at, setAt] = useState(() => new Date().toISOString());
  const query = useQuery({
    queryKey: [team, "deployments", found.deployment_id, "as-of", at],
    queryFn: () =>
      answer(
        api.GET("/api/v1/deployments/{deployment_id}/as-of", {
          params: { path: { deployment_id: found.deployment_id }, query: { at } },
        }),
      ),
    staleTime: Number.POSITIVE_INFINITY,
  });
  return (
    <Panel title="What was live at a moment">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          const moment = new Date(typed);
          if (!Number.isNaN(moment.getTime())) setAt(moment.toISOString());
        }}
      >
        <Group align="flex-end" gap="xs">
          <TextInput
            type="datetime-local"
            step={1}
            label="Moment, in your time"
            value={typed}
            onChange={(event) => setTyped(event.currentTarget.value)}
          />
          <Button type="submit" size="sm">
            Look it up
          </Button>
        </Group>
      </form>
      <Loaded query={query}>{(past) => <Then team={team} found={found} past={past} />}</Loaded>
    </Panel>
  );
}

function Then({ team, found, past }: { team: string; found: Deployment; past: Past }) {
  const [live] = past.revisions;
  const id = live && `${live.model_name}/${live.model_version}`;
  return (
    <Stack gap="sm">
      <Facts
        of={[
          ["at", local(past.at)],
          ["so since", past.since ? local(past.since) : "nothing was live yet"],
          ["changed by", past.changed_by],
          ["by", past.action],
          [
            "says the audit log's event",
            past.audit_sequence === null ? null : (
              <Link key="audit" to="/$team/audit" params={{ team }}>
                {number(past.audit_sequence)}
              </Link>
            ),
          ],
        ]}
      />
      <Table
        label="What was live"
        rows={past.revisions}
        id={(each) => each.revision_id}
        empty={<Empty title="Nothing was live at that moment" />}
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
          { name: "Traffic", number: true, cell: (each) => `${number(each.weight)} %` },
          { name: "Asked for by", cell: (each) => each.requested_by },
          { name: "Approved by", cell: (each) => approvedBy(each.approval) },
          {
            name: "Rollout",
            cell: (each) => (
              <Link to="/$team/rollouts/$rollout" params={{ team, rollout: each.rollout_id }}>
                its evidence
              </Link>
            ),
          },
        ]}
      />
      {id && id !== found.serving_model_id && (
        <Alert variant="outline" color="gray" title={`${id} is not what serves now`}>
          <Stack gap="xs" align="flex-start">
            <Text size="sm">
              Going back to it is a rollout like any other: through all gates, with its approval.
            </Text>
            <ActButton
              needs={changing(found.environment)}
              done={`A rollout of ${id} has begun`}
              reason="optional"
              longest={200}
              confirm={{ title: `Go back to ${id}?`, text: "A rollout begins, which passes all stages." }}
              act={(justification) =>
                answer(
                  api.POST("/api/v1/deployments/{deployment_id}/restore", {
                    params: { path: { deployment_id: found.deployment_id } },
                    body: { at: past.at, justification: justification || null },
                  }),
                )
              }
            >
              Restore
            </ActButton>
          </Stack>
        </Alert>
      )}
    </Stack>
  );
}

function approvedBy(approval: Past["revisions"][number]["approval"]): string {
  if (!approval) return "none was needed";
  if (approval.glass_broken_by) return `nobody: ${approval.glass_broken_by} broke the glass`;
  if (approval.automatic) return `the rule, at ${approval.risk_level} risk`;
  return approval.approvers.join(", ");
}

/** What `datetime-local` takes: local time, without a zone. */
function forInput(moment: Date): string {
  const shifted = new Date(moment.getTime() - moment.getTimezoneOffset() * 60_000);
  return shifted.toISOString().slice(0, 19);
}
