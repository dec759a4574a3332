/** Quality on held-out rows beside what serves, by slice, fairness, and the bundle on trial. */

import { Stack, Title } from "@mantine/core";
import { Facts } from "../../../parts/facts";
import { milliseconds, number, percent } from "../../../parts/figures";
import { Table } from "../../../parts/table";
import { type Bag, bag, figure, line, text, words } from "../../../parts/unknown";
import { Said } from "./Checks";
import { Comparison, compared } from "./Comparison";

export function TestEvidence({ of }: { of: Bag }) {
  const champion = bag(of.champion);
  const gate = bag(of.gate);
  const metric = text(gate.metric);
  const runtime = bag(of.runtime);
  const stability = bag(of.stability);
  if (of.evaluated === false)
    return <Facts of={[["not evaluated", line(of.note)], ...trial(runtime, stability)]} />;
  return (
    <Stack gap="sm">
      <Facts
        of={[
          ["rows", number(figure(of.rows))],
          [
            "gate",
            metric === null
              ? "none"
              : `${metric} ${number(figure(bag(of.metrics)[metric]), 4)}, asked for: ${number(figure(gate.threshold), 4)}`,
          ],
          ["compared with", text(champion.model) ?? "nothing serves yet"],
          ...(champion.not_comparable
            ? [["not comparable", line(champion.not_comparable)] as [string, string]]
            : []),
          ...trial(runtime, stability),
        ]}
      />
      <Comparison
        label="On the same held-out rows"
        candidate="This version"
        serving={text(champion.model)}
        rows={compared(bag(of.metrics), bag(champion.metrics))}
      />
      <Fairness of={bag(of.fairness)} />
      <Slices of={bag(of.slices)} />
    </Stack>
  );
}

function trial(runtime: Bag, stability: Bag): [string, React.ReactNode][] {
  const budget = bag(runtime.budget);
  const limit = (value: unknown, unit: string) =>
    figure(value) === null ? "" : ` of ${number(figure(value))} ${unit}`;
  return [
    ["on trial", line(runtime.measured_on)],
    ["p95 of one row", `${milliseconds(figure(runtime.p95_ms))}${limit(budget.p95_ms, "ms")}`],
    ["memory", `${number(figure(runtime.memory_mb))} MiB${limit(budget.memory_mb, "MiB")}`],
    [
      "stability",
      stability.assessed
        ? `${percent(figure(stability.changed_decisions))} of the decisions change when its numbers move by ${percent(figure(stability.share_of_deviation))} of their deviation`
        : line(stability.why),
    ],
  ];
}

function Fairness({ of }: { of: Bag }) {
  const attributes = Object.entries(bag(of.attributes)).map(([name, found]) => ({ name, found: bag(found) }));
  if (attributes.length === 0) return <Facts of={[["fairness", line(of.why)]]} />;
  return (
    <>
      <Title order={4}>Fairness</Title>
      <Table
        label="Fairness by attribute"
        rows={attributes}
        id={({ name }) => name}
        columns={[
          { name: "Attribute", cell: ({ name }) => name },
          {
            name: "Parity difference",
            number: true,
            cell: ({ found }) =>
              found.not_measured ? (
                <Said good={false}>{line(found.not_measured)}</Said>
              ) : (
                number(figure(found.parity_difference))
              ),
          },
          {
            name: "Odds difference",
            number: true,
            cell: ({ found }) => number(figure(found.odds_difference)),
          },
          { name: "Groups", number: true, cell: ({ found }) => Object.keys(bag(found.groups)).length || "–" },
        ]}
      />
    </>
  );
}

interface Slice {
  id: string;
  part: string;
  found: Bag;
}

function Slices({ of }: { of: Bag }) {
  const slices: Slice[] = Object.entries(of).flatMap(([column, values]) =>
    Object.entries(bag(values)).map(([value, found]) => ({
      id: `${column}=${value}`,
      part: `${column} is ${value}`,
      found: bag(found),
    })),
  );
  if (slices.length === 0) return null;
  const names = ["accuracy", "rmse", "positive_rate", "true_positive_rate", "false_positive_rate"].filter(
    (name) => slices.some(({ found }) => figure(found[name]) !== null),
  );
  return (
    <details className="more">
      <summary>{slices.length} parts of the rows, each by itself</summary>
      <Table
        label="Quality by part of the rows"
        rows={slices}
        id={({ id }) => id}
        columns={[
          { name: "Where", cell: ({ part }) => part, by: ({ part }) => part },
          {
            name: "Rows",
            number: true,
            cell: ({ found }) => number(figure(found.rows)),
            by: ({ found }) => figure(found.rows),
          },
          ...names.map((name) => ({
            name: words(name),
            number: true,
            cell: ({ found }: Slice) => number(figure(found[name])),
            by: ({ found }: Slice) => figure(found[name]),
          })),
        ]}
      />
    </details>
  );
}
