/** The runs of an experiment, ordered by the platform (there may be many thousands), and a choice to compare. */

import { Checkbox, Group, SegmentedControl, Select, Text } from "@mantine/core";
import { useMemo, useState } from "react";
import { answer, api } from "../../api/client";
import { CALM, LIVE } from "../../api/live";
import { usePages } from "../../api/pages";
import type { Schemas } from "../../api/types";
import { number, span } from "../../parts/figures";
import { Link } from "../../parts/link";
import { RunLink } from "../../parts/mlflow";
import { Panel } from "../../parts/page";
import { Empty } from "../../parts/states";
import { Status, type Tone } from "../../parts/status";
import { type Column, PagedTable } from "../../parts/table";
import { When } from "../../parts/when";
import { lowerIsBetter, telling } from "../models/metrics";
import { Compare } from "./Compare";

type Run = Schemas["Run"];

const SHOWN = 6;
const MOST = 20;
const TONES: Record<string, Tone> = {
  FINISHED: "good",
  FAILED: "bad",
  KILLED: "quiet",
  RUNNING: "busy",
  SCHEDULED: "busy",
};

export function Runs({ team, experiment }: { team: string; experiment: string }) {
  const [metric, setMetric] = useState<string | null>(null);
  const [order, setOrder] = useState<"asc" | "desc">("desc");
  const [chosen, setChosen] = useState<ReadonlyMap<string, Run>>(new Map());
  const pages = usePages(
    [team, "experiments", experiment, "runs", metric, order],
    (cursor) =>
      answer(
        api.GET("/api/v1/experiments/{experiment}/runs", {
          params: {
            path: { experiment },
            query: { limit: 100, cursor, sort_by: metric ?? undefined, order },
          },
        }),
      ),
    (rows) => (rows.some((run) => run.status === "RUNNING") ? LIVE : CALM),
  );
  const rows = pages.rows ?? [];
  const names = useMemo(() => telling(rows.flatMap((run) => Object.keys(run.metrics))), [rows]);
  const known = metric && !names.includes(metric) ? [metric, ...names] : names;
  const choose = (run: Run, on: boolean) =>
    setChosen((before) => {
      const after = new Map(before);
      if (on) after.set(run.run_id, run);
      else after.delete(run.run_id);
      return after;
    });
  const shown = metric
    ? [metric, ...names.filter((name) => name !== metric)].slice(0, SHOWN)
    : names.slice(0, SHOWN);
  return (
    <>
      {chosen.size > 0 && <Compare runs={[...chosen.values()]} clear={() => setChosen(new Map())} />}
      <Panel
        title="Runs"
        flush
        actions={
          <Group gap="xs">
            <Select
              aria-label="Order by"
              size="xs"
              w={190}
              searchable
              clearable
              placeholder="Newest first"
              data={known}
              value={metric}
              onChange={(value) => {
                setMetric(value);
                setOrder(value && lowerIsBetter(value) ? "asc" : "desc");
              }}
            />
            {metric && (
              <SegmentedControl
                aria-label="Order"
                size="xs"
                value={order}
                onChange={(value) => setOrder(value as "asc" | "desc")}
                data={[
                  { value: "desc", label: "Greatest first" },
                  { value: "asc", label: "Smallest first" },
                ]}
              />
            )}
          </Group>
        }
      >
        <PagedTable
          label="Runs"
          pages={pages}
          id={(run) => run.run_id}
          empty={
            <Empty title="No run yet">mlops jobs submit train.py --experiment {experiment} --follow</Empty>
          }
          columns={columns(team, shown, chosen, choose)}
        />
        {names.length > SHOWN && (
          <Text size="sm" c="dimmed" p="sm">
            {names.length - SHOWN} more metrics: order by one to see it, or tick runs to compare all.
          </Text>
        )}
      </Panel>
    </>
  );
}

function columns(
  team: string,
  metrics: string[],
  chosen: ReadonlyMap<string, Run>,
  choose: (run: Run, on: boolean) => void,
): Column<Run>[] {
  return [
    {
      name: "Compare",
      cell: (run) => (
        <Checkbox
          aria-label={`Compare ${run.name}`}
          size="xs"
          checked={chosen.has(run.run_id)}
          disabled={!chosen.has(run.run_id) && chosen.size >= MOST}
          onChange={(event) => choose(run, event.currentTarget.checked)}
        />
      ),
    },
    { name: "Run", cell: (run) => <RunName team={team} of={run} /> },
    { name: "State", cell: (run) => <Status of={run.status} tone={TONES[run.status]} /> },
    ...metrics.map(
      (name): Column<Run> => ({ name, number: true, cell: (run) => number(run.metrics[name], 4) }),
    ),
    { name: "Started", cell: (run) => <When at={run.started_at} /> },
    { name: "Took", number: true, cell: (run) => span(run.started_at, run.ended_at) },
    {
      name: "Elsewhere",
      cell: (run) => (
        <RunLink team={team} experiment={run.experiment_id} run={run.run_id}>
          MLflow
        </RunLink>
      ),
    },
  ];
}

/** A job's run is called by the job's id, of which the end tells it from others. */
function RunName({ team, of }: { team: string; of: Run }) {
  if (!of.job_id) return <>{of.name}</>;
  return (
    <Link to="/$team/jobs/$job" params={{ team, job: of.job_id }} style={{ whiteSpace: "nowrap" }}>
      {of.name === of.job_id ? `job …${of.job_id.slice(-6)}` : of.name}
    </Link>
  );
}
