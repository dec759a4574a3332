/** A job: how it goes, what it says, what it read and set, and what came of it. */

import { Alert, Grid, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useNavigate, useParams } from "@tanstack/react-router";
import { answer, api } from "../../api/client";
import { LIVE } from "../../api/live";
import type { Schemas } from "../../api/types";
import { ActButton } from "../../parts/ask";
import { Link, LinkButton } from "../../parts/link";
import { Page } from "../../parts/page";
import { Loaded } from "../../parts/states";
import { Status } from "../../parts/status";
import { When } from "../../parts/when";
import { Inputs, JobFacts, Outcome, Settings } from "./JobParts";
import { Log } from "./Log";
import { isMoving } from "./moving";

export function Job() {
  const { team, job: id } = useParams({ from: "/$team/jobs/$job" });
  const query = useQuery({
    queryKey: [team, "jobs", id],
    queryFn: () => answer(api.GET("/api/v1/jobs/{job_id}", { params: { path: { job_id: id } } })),
    refetchInterval: (current) => (current.state.data && isMoving(current.state.data.status) ? LIVE : false),
  });
  const job = query.data;
  return (
    <Page
      title={`Job ${id}`}
      trail={[
        <Link key="jobs" to="/$team/jobs" params={{ team }}>
          Jobs
        </Link>,
      ]}
      about={
        job && (
          <>
            <Status of={job.status} />, {job.script} by {job.created_by} <When at={job.created_at} />
          </>
        )
      }
      actions={job && <Actions team={team} job={job} />}
    >
      <Loaded query={query}>
        {(found) => (
          <Grid gap="md">
            <Grid.Col span={{ base: 12, lg: 8 }}>
              <Stack gap="md">
                <Ended of={found} />
                <Log key={found.job_id} job={found.job_id} />
                <Outcome team={team} job={found} />
              </Stack>
            </Grid.Col>
            <Grid.Col span={{ base: 12, lg: 4 }}>
              <Stack gap="md">
                <JobFacts team={team} job={found} />
                <Inputs team={team} job={found} />
                <Settings job={found} />
              </Stack>
            </Grid.Col>
          </Grid>
        )}
      </Loaded>
    </Page>
  );
}

/** Why it did not end well, and what to do about it. */
function Ended({ of }: { of: Schemas["Job"] }) {
  if (!of.reason) return null;
  const fine = of.status === "succeeded" || of.status === "cancelled";
  return (
    <Alert
      variant="outline"
      color={fine ? "yellow" : "red"}
      role="note"
      styles={{ title: { color: "var(--mantine-color-text)" }, label: { color: "inherit" } }}
      title={of.reason}
    >
      {of.hint && <Text size="sm">{of.hint}</Text>}
    </Alert>
  );
}

function Actions({ team, job }: { team: string; job: Schemas["Job"] }) {
  const navigate = useNavigate();
  const path = { job_id: job.job_id };
  return (
    <>
      <LinkButton to="/$team/lineage/$kind/$id" params={{ team, kind: "job", id: job.job_id }}>
        Lineage
      </LinkButton>
      {isMoving(job.status) ? (
        <ActButton
          needs="train_model"
          color="red"
          done="The job was asked to stop"
          disabled={job.cancel_requested_at !== null}
          confirm={{
            title: "Cancel the job",
            text: "Its processes are ended. What it has logged so far stays.",
          }}
          act={() => answer(api.POST("/api/v1/jobs/{job_id}/cancel", { params: { path } }))}
        >
          Cancel the job
        </ActButton>
      ) : (
        <ActButton
          needs="train_model"
          done="Submitted again"
          act={async () => {
            const again = await answer(api.POST("/api/v1/jobs/{job_id}/retry", { params: { path } }));
            await navigate({ to: "/$team/jobs/$job", params: { team, job: again.job_id } });
          }}
        >
          Run it again
        </ActButton>
      )}
    </>
  );
}
