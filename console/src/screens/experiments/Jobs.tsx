/** Training jobs, newest first, by state and by experiment. */

import { Group, Select, TextInput } from "@mantine/core";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { answer, api } from "../../api/client";
import { CALM, LIVE } from "../../api/live";
import { usePages } from "../../api/pages";
import type { Schemas } from "../../api/types";
import { span } from "../../parts/figures";
import { Link, useTeam } from "../../parts/link";
import { Page, Panel } from "../../parts/page";
import { Empty } from "../../parts/states";
import { Status } from "../../parts/status";
import { PagedTable } from "../../parts/table";
import { When } from "../../parts/when";
import { versionOf } from "../models/names";
import { ENDED, isMoving } from "./moving";

type JobStatus = Schemas["JobStatus"];

const STATES: JobStatus[] = ["submitted", "queued", "preparing", "running", ...ENDED];

export function Jobs() {
  const team = useTeam();
  const { status, experiment } = useSearch({ from: "/$team/jobs" });
  const navigate = useNavigate();
  const only = (change: { status?: JobStatus; experiment?: string }) =>
    navigate({
      to: "/$team/jobs",
      params: { team },
      search: { status, experiment, ...change },
      replace: true,
    });
  const pages = usePages(
    [team, "jobs", "list", status, experiment],
    (cursor) =>
      answer(api.GET("/api/v1/jobs", { params: { query: { limit: 50, cursor, status, experiment } } })),
    (rows) => (rows.some((job) => isMoving(job.status)) ? LIVE : CALM),
  );
  return (
    <Page title="Jobs" about="Training, each in an environment of its own">
      <Group gap="sm">
        <Select
          aria-label="State"
          placeholder="Every state"
          size="xs"
          w={170}
          clearable
          data={STATES.map((state) => ({ value: state, label: state.replaceAll("_", " ") }))}
          value={status ?? null}
          onChange={(value) => only({ status: (value ?? undefined) as JobStatus | undefined })}
        />
        <TextInput
          key={experiment}
          aria-label="Experiment, by name or id"
          placeholder="Experiment, by name or id"
          size="xs"
          w={220}
          defaultValue={experiment}
          onBlur={(event) => only({ experiment: event.currentTarget.value.trim() || undefined })}
          onKeyDown={(event) => {
            if (event.key === "Enter") only({ experiment: event.currentTarget.value.trim() || undefined });
          }}
        />
      </Group>
      <Panel flush>
        <PagedTable
          label="Jobs"
          pages={pages}
          id={(job) => job.job_id}
          empty={
            <Empty title={status || experiment ? "No such job" : "No job yet"}>
              mlops jobs submit train.py --experiment NAME --follow
            </Empty>
          }
          columns={[
            {
              name: "Job",
              cell: (job) => (
                <Link to="/$team/jobs/$job" params={{ team, job: job.job_id }}>
                  {job.job_id}
                </Link>
              ),
            },
            { name: "State", cell: (job) => <Status of={job.status} /> },
            {
              name: "Experiment",
              cell: (job) => (
                <Link to="/$team/experiments/$experiment" params={{ team, experiment: job.experiment_id }}>
                  {job.experiment_name}
                </Link>
              ),
            },
            { name: "Script", cell: (job) => job.script },
            { name: "Came to", cell: (job) => <Result team={team} of={job} /> },
            { name: "By", cell: (job) => job.created_by },
            { name: "Submitted", cell: (job) => <When at={job.created_at} /> },
            { name: "Took", number: true, cell: (job) => span(job.started_at, job.finished_at) },
          ]}
        />
      </Panel>
    </Page>
  );
}

export function Result({ team, of }: { team: string; of: Schemas["Job"] }) {
  if (!of.model_id) return <>{of.reason ?? ""}</>;
  return (
    <Link to="/$team/models/$name/$version" params={{ team, ...versionOf(of.model_id) }}>
      {of.model_id}
    </Link>
  );
}
