/** The canary's steps: how much traffic, how it was judged, and by which figures of both sides. */

import { Stack, Text, Title } from "@mantine/core";
import type { Schemas } from "../../api/types";
import { Facts } from "../../parts/facts";
import { milliseconds, number, percent, roughly, span } from "../../parts/figures";
import { Panel } from "../../parts/page";
import { Status } from "../../parts/status";
import { Table } from "../../parts/table";
import { type Bag, bag, figure, line, list } from "../../parts/unknown";
import { When } from "../../parts/when";
import { Whole } from "./evidence/Findings";
import { Strip, stageTone } from "./Stages";

type Step = Schemas["CanaryStep"];

export function Canary({ steps, plan, over }: { steps: readonly Step[]; plan: Bag; over: boolean }) {
  const begun = new Map(steps.map((step) => [step.percent, step.status as string]));
  const planned = list(plan.steps).map((percentage) => figure(percentage) ?? 0);
  const all = [...new Set([...planned, ...begun.keys()])].sort((a, b) => a - b);
  const reached = over && steps.length > 0 && steps.every((step) => step.status === "passed");
  return (
    <Panel title="Canary">
      <Strip
        stages={all.map((share) => ({
          name: `${share} %`,
          status: begun.get(share) ?? (share === 100 && reached ? "passed" : over ? "skipped" : "pending"),
        }))}
      />
      <Text size="sm" c="dimmed">
        Each step takes at least {roughly(figure(plan.step_seconds) ?? 0)} and{" "}
        {number(figure(plan.min_requests))} requests. It goes back above an error rate of{" "}
        {percent(figure(plan.max_error_rate))}, a p95 of {number(figure(plan.max_latency_ratio))} times the
        old revision's
        {figure(plan.max_answer_shift) !== null &&
          `, or when its answers shift by a PSI of ${number(figure(plan.max_answer_shift))} beyond chance`}
        .
      </Text>
      <Stack gap="md">
        {steps.map((step) => (
          <OneStep key={step.step} step={step} />
        ))}
      </Stack>
    </Panel>
  );
}

function OneStep({ step }: { step: Step }) {
  return (
    <section aria-label={`Step at ${step.percent} %`}>
      <Title order={3}>
        {step.percent} % of the traffic <Status of={step.status} tone={stageTone(step.status)} />
      </Title>
      <Text size="sm">
        {step.reason}
        {step.started_at && (
          <>
            {step.reason ? " · " : ""}began <When at={step.started_at} />, took{" "}
            {span(step.started_at, step.finished_at)}
          </>
        )}
      </Text>
      <Evidence of={step.evidence} />
    </section>
  );
}

interface Line {
  name: string;
  ours: string;
  theirs: string;
}

function Evidence({ of }: { of: Bag }) {
  if (Object.keys(of).length === 0) return null;
  const ours = bag(of.candidate);
  const theirs = bag(of.baseline);
  const answers = bag(of.answers);
  const quality = bag(of.quality);
  const both = (name: string, key: string, as: (value: number | null) => string): Line => ({
    name,
    ours: as(figure(ours[key])),
    theirs: as(figure(theirs[key])),
  });
  const lines: Line[] = [
    both("Requests", "requests", number),
    both("Errors", "errors", number),
    both("Error rate", "error_rate", percent),
    both("Median", "p50_ms", milliseconds),
    both("p95", "p95_ms", milliseconds),
    both("p99", "p99_ms", milliseconds),
  ];
  if (figure(answers.rows) !== null)
    lines.push({ name: "Answers compared", ours: line(answers.rows), theirs: line(answers.baseline_rows) });
  if (quality.metric)
    lines.push({
      name: `${line(quality.metric)} by labels`,
      ours: `${line(quality.value)} (${line(quality.labels)})`,
      theirs: `${line(quality.baseline)} (${line(quality.baseline_labels)})`,
    });
  return (
    <Stack gap="xs">
      <Table
        label="Both sides in the same window"
        rows={lines}
        id={({ name }) => name}
        columns={[
          { name: "Measured", cell: (each) => each.name },
          { name: "New revision", number: true, cell: (each) => each.ours },
          { name: "Old revision", number: true, cell: (each) => each.theirs },
        ]}
      />
      {(answers.psi !== undefined || answers.not_compared !== undefined) && (
        <Facts
          of={[
            [
              "shift of the answers (PSI)",
              line(answers.psi ?? answers.not_compared ?? "too few answers to say"),
            ],
          ]}
        />
      )}
      <Whole of={of} />
    </Stack>
  );
}
