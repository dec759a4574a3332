/** Chosen runs side by side: one metric drawn against runs or against what was set, and all that differs. */

import { Button, Group, Select, Switch } from "@mantine/core";
import { useMemo, useState } from "react";
import type { Schemas } from "../../api/types";
import { Chart } from "../../parts/chart";
import { DASH, number } from "../../parts/figures";
import { Panel } from "../../parts/page";
import { Empty } from "../../parts/states";
import { Table } from "../../parts/table";

type Run = Schemas["Run"];

interface Trait {
  /** "metric roc_auc" or "setting n_estimators". */
  key: string;
  of: (run: Run) => string | number | null;
}

const RUNS = "runs";

export function Compare({ runs, clear }: { runs: Run[]; clear: () => void }) {
  const [differing, setDiffering] = useState(true);
  const [across, setAcross] = useState(RUNS);
  const [wanted, setWanted] = useState<string | null>(null);
  const all = useMemo(() => traits(runs), [runs]);
  const metrics = all.filter((each) => each.key.startsWith("metric "));
  const numeric = all.filter((each) => runs.some((run) => Number.isFinite(asNumber(each.of(run)))));
  const up = metrics.find((each) => each.key === wanted) ?? metrics[0];
  const along = numeric.find((each) => each.key === across);
  const rows = differing && runs.length > 1 ? all.filter((each) => differs(each, runs)) : all;
  return (
    <Panel
      title={`${runs.length} ${runs.length === 1 ? "run" : "runs"} compared`}
      actions={
        <Button variant="default" size="compact-xs" onClick={clear}>
          Stop comparing
        </Button>
      }
    >
      <Group gap="sm">
        <Select
          label="Metric"
          size="xs"
          data={metrics.map((each) => each.key)}
          value={up?.key ?? null}
          allowDeselect={false}
          onChange={setWanted}
        />
        <Select
          label="Against"
          size="xs"
          data={[RUNS, ...numeric.map((each) => each.key).filter((key) => key !== up?.key)]}
          value={along ? across : RUNS}
          allowDeselect={false}
          onChange={(value) => setAcross(value ?? RUNS)}
        />
      </Group>
      {up && <Drawn runs={runs} up={up} along={along} />}
      <Switch
        label="Only what differs"
        size="xs"
        checked={differing}
        onChange={(event) => setDiffering(event.currentTarget.checked)}
      />
      <Table
        label="What the runs set and reached"
        rows={rows}
        id={(trait) => trait.key}
        empty={<Empty title="They do not differ" />}
        columns={[
          { name: "What", cell: (trait) => trait.key },
          ...runs.map((run) => ({
            name: titled(run, runs),
            cell: (trait: Trait) => <span className="anywhere">{shown(trait.of(run))}</span>,
          })),
        ]}
      />
    </Panel>
  );
}

function Drawn({ runs, up, along }: { runs: Run[]; up: Trait; along: Trait | undefined }) {
  const { option, figures } = useMemo(() => drawn(runs, up, along), [runs, up, along]);
  return (
    <Chart
      label={`${up.key} of the chosen runs${along ? ` against ${along.key}` : ""}`}
      option={option}
      figures={figures}
    />
  );
}

function drawn(runs: Run[], up: Trait, along: Trait | undefined) {
  const names = runs.map((run) => titled(run, runs));
  const values = runs.map((run) => asNumber(up.of(run)) ?? null);
  const figures = {
    columns: along ? ["Run", along.key, up.key] : ["Run", up.key],
    rows: runs.map((run, index) => [
      names[index] ?? "",
      ...(along ? [along.of(run)] : []),
      values[index] ?? null,
    ]),
  };
  const y = { type: "value", scale: true, name: up.key, nameTextStyle: { align: "left" } };
  const option = along
    ? {
        xAxis: { type: "value", scale: true, name: along.key, nameLocation: "middle", nameGap: 26 },
        yAxis: y,
        grid: { left: 8, right: 12, top: 28, bottom: 26, containLabel: true },
        tooltip: { trigger: "item", renderMode: "richText", confine: true },
        series: [
          {
            type: "scatter",
            symbolSize: 12,
            data: runs.map((run, index) => ({
              name: names[index],
              value: [asNumber(along.of(run)), values[index]],
            })),
          },
        ],
      }
    : {
        xAxis: { type: "category", data: names },
        yAxis: y,
        series: [{ name: up.key, type: "bar", data: values, barMaxWidth: 48 }],
      };
  return { option, figures };
}

function traits(runs: Run[]): Trait[] {
  const keys = (of: (run: Run) => object) => [...new Set(runs.flatMap((run) => Object.keys(of(run))))].sort();
  return [
    ...keys((run) => run.metrics).map((name) => ({
      key: `metric ${name}`,
      of: (run: Run) => run.metrics[name] ?? null,
    })),
    ...keys((run) => run.params).map((name) => ({
      key: `setting ${name}`,
      of: (run: Run) => run.params[name] ?? null,
    })),
  ];
}

function differs(trait: Trait, runs: Run[]): boolean {
  return new Set(runs.map((run) => trait.of(run))).size > 1;
}

function asNumber(value: string | number | null): number | undefined {
  if (value === null || value === "") return undefined;
  const found = Number(value);
  return Number.isFinite(found) ? found : undefined;
}

function shown(value: string | number | null): string {
  return typeof value === "number" ? number(value, 4) : (value ?? DASH);
}

/** Runs often share a name; then the beginning of the id tells them apart. */
function titled(run: Run, runs: Run[]): string {
  const alone = runs.filter((each) => each.name === run.name).length === 1;
  if (run.name === run.job_id) return `job …${run.name.slice(-6)}`;
  return alone ? run.name : `${run.name} ${run.run_id.slice(0, 6)}`;
}
