import { List, Stack } from "@mantine/core";
import type { Schemas } from "../../api/types";
import { Facts, Json } from "../../parts/facts";
import { bytes, number, span } from "../../parts/figures";
import { Link } from "../../parts/link";
import { RunLink } from "../../parts/mlflow";
import { Panel } from "../../parts/page";
import { Empty } from "../../parts/states";
import { Status } from "../../parts/status";
import { Table } from "../../parts/table";
import { When } from "../../parts/when";
import { Result } from "./Jobs";
import { isMoving } from "./moving";

interface Props {
  team: string;
  job: Schemas["Job"];
}

export function JobFacts({ team, job }: Props) {
  const waited = job.started_at ? span(job.created_at, job.started_at) : span(job.created_at);
  return (
    <Panel title="How it goes">
      <Facts
        of={[
          [
            "Experiment",
            <Link
              key="experiment"
              to="/$team/experiments/$experiment"
              params={{ team, experiment: job.experiment_id }}
            >
              {job.experiment_name}
            </Link>,
          ],
          [
            "Run",
            job.run_id && <RunLink key="run" team={team} experiment={job.experiment_id} run={job.run_id} />,
          ],
          ["Submitted", <When key="made" at={job.created_at} />],
          ["Waited", waited],
          ["Ran", span(job.started_at, job.finished_at)],
          ["Processor", job.cpu_seconds !== null ? `${number(job.cpu_seconds)} s` : null],
          ["Most memory", bytes(job.max_memory_bytes)],
          [
            "Exit code",
            job.exit_code !== null ? String(job.exit_code) : isMoving(job.status) ? "still running" : null,
          ],
          [
            "Retry of",
            job.retry_of && (
              <Link key="retry" to="/$team/jobs/$job" params={{ team, job: job.retry_of }}>
                {job.retry_of}
              </Link>
            ),
          ],
          [
            "Source",
            <Link
              key="source"
              to="/$team/lineage/$kind/$id"
              params={{ team, kind: "source", id: job.source_id }}
            >
              {job.source_id}
            </Link>,
          ],
        ]}
      />
    </Panel>
  );
}

export function Inputs({ team, job }: Props) {
  return (
    <Panel title="Inputs" flush>
      <Table
        label="Inputs"
        rows={Object.entries(job.inputs)}
        id={([name]) => name}
        empty={
          <Empty title="It declared none">
            What a job declares is in its lineage: --input train=dataset:NAME@1
          </Empty>
        }
        columns={[
          { name: "Name", cell: ([name]) => name },
          { name: "What", cell: ([, input]) => <InputLink team={team} reference={input.reference} /> },
          { name: "SHA-256", cell: ([, input]) => input.digest.replace(/^sha256:/, "").slice(0, 12) },
        ]}
      />
    </Panel>
  );
}

/** `dataset:name@version` or `training_set:id`. */
function InputLink({ team, reference }: { team: string; reference: string }) {
  const [kind = "", id = ""] = reference.split(/:(.*)/s);
  if (kind === "dataset")
    return (
      <Link to="/$team/datasets/$name" params={{ team, name: id.split("@")[0] ?? id }}>
        <span className="anywhere">{reference}</span>
      </Link>
    );
  return (
    <Link to="/$team/lineage/$kind/$id" params={{ team, kind, id }}>
      <span className="anywhere">{reference}</span>
    </Link>
  );
}

export function Settings({ job }: { job: Schemas["Job"] }) {
  if (Object.keys(job.config).length === 0) return null;
  return (
    <Panel title="Settings">
      <Json of={job.config} label="Settings" />
    </Panel>
  );
}

/** Metrics, the gate's finding, and the version that was registered. */
export function Outcome({ team, job }: Props) {
  return (
    <>
      {(job.gate || job.register_as) && (
        <Panel title="Registration">
          <Stack gap="xs">
            <Facts
              of={[
                [
                  "Registered as",
                  job.model_id ? <Result key="as" team={team} of={job} /> : unregistered(job),
                ],
                ["Gate", job.gate && <Status key="gate" of={job.gate.passed ? "passed" : "failed"} />],
              ]}
            />
            {job.gate && (
              <List size="sm">
                {job.gate.reasons.map((reason) => (
                  <List.Item key={reason}>{reason}</List.Item>
                ))}
              </List>
            )}
          </Stack>
        </Panel>
      )}
      <Panel title="Metrics" flush>
        <Table
          label="Metrics"
          rows={Object.entries(job.metrics)}
          id={([name]) => name}
          empty={
            <Empty title="None yet">
              A script writes them to metrics.json in MLOPS_OUTPUTS, or logs them to MLflow.
            </Empty>
          }
          columns={[
            { name: "Metric", cell: ([name]) => name, by: ([name]) => name },
            { name: "Value", number: true, cell: ([, value]) => number(value, 4), by: ([, value]) => value },
          ]}
        />
      </Panel>
    </>
  );
}

function unregistered(job: Schemas["Job"]): string {
  return isMoving(job.status) ? `${job.register_as?.name}, once it has ended` : "nothing was registered";
}
