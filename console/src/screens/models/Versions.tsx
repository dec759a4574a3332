/** The versions of a model with their metrics, and one metric drawn over them. */

import { Select } from "@mantine/core";
import { useMemo, useState } from "react";
import { answer, api } from "../../api/client";
import { usePages } from "../../api/pages";
import type { Schemas } from "../../api/types";
import { Chart } from "../../parts/chart";
import { number } from "../../parts/figures";
import { Link } from "../../parts/link";
import { Panel } from "../../parts/page";
import { Empty } from "../../parts/states";
import { Status } from "../../parts/status";
import { type Column, PagedTable } from "../../parts/table";
import { When } from "../../parts/when";
import { isCount, lowerIsBetter, telling } from "./metrics";

type Version = Schemas["ModelVersion"];

const SHOWN = 3;

export function Versions({ team, name }: { team: string; name: string }) {
  const pages = usePages([team, "models", name, "versions"], (cursor) =>
    answer(
      api.GET("/api/v1/models/{name}/versions", {
        params: { path: { name }, query: { limit: 100, cursor } },
      }),
    ),
  );
  const rows = pages.rows ?? [];
  const metrics = useMemo(() => metricsOf(rows), [rows]);
  const columns: Column<Version>[] = [
    {
      name: "Version",
      cell: (row) => (
        <Link to="/$team/models/$name/$version" params={{ team, name, version: String(row.version) }}>
          version&nbsp;{row.version}
        </Link>
      ),
    },
    { name: "Aliases", cell: (row) => row.aliases.map((alias) => `@${alias}`).join(", ") || "none" },
    { name: "Gate", cell: (row) => <GateWord of={row.gate} /> },
    ...metrics.slice(0, SHOWN).map(
      (metric): Column<Version> => ({
        name: metric,
        number: true,
        cell: (row) => number(row.metrics[metric], 4),
      }),
    ),
    { name: "By", cell: (row) => row.created_by },
    { name: "Registered", cell: (row) => <When at={row.created_at} /> },
  ];
  return (
    <>
      {rows.length > 0 && metrics.length > 0 && <Quality rows={rows} metrics={metrics} />}
      <Panel title="Versions" flush>
        <PagedTable
          label="Versions"
          pages={pages}
          id={(row) => row.model_id}
          columns={columns}
          empty={<Empty title="No version yet">A job with --register-as {name} makes the first one.</Empty>}
        />
      </Panel>
    </>
  );
}

export function GateWord({ of }: { of: Schemas["GateResult"] | null }) {
  if (!of) return <Status of="none was set" tone="quiet" />;
  return <Status of={of.passed ? "passed" : "failed"} />;
}

/** Those of the newest versions' gates first: that is what their makers look at. */
function metricsOf(rows: readonly Version[]): string[] {
  const gates = rows.map((row) => row.gate?.metric).filter((metric): metric is string => Boolean(metric));
  const all = rows.flatMap((row) => Object.keys(row.metrics)).filter((metric) => !isCount(metric));
  return [...new Set([...gates, ...telling(all)])];
}

function Quality({ rows, metrics }: { rows: readonly Version[]; metrics: string[] }) {
  const [chosen, setChosen] = useState<string | null>(null);
  const metric = chosen && metrics.includes(chosen) ? chosen : (metrics[0] ?? "");
  const { option, figures } = useMemo(() => drawn(rows, metric), [rows, metric]);
  return (
    <Panel
      title="Quality over versions"
      actions={
        <Select
          aria-label="Metric"
          size="xs"
          w={170}
          data={metrics}
          value={metric}
          allowDeselect={false}
          onChange={setChosen}
        />
      }
    >
      <Chart
        label={`${metric} of each version, ${lowerIsBetter(metric) ? "lower" : "higher"} is better`}
        option={option}
        figures={figures}
        height={210}
      />
    </Panel>
  );
}

function drawn(rows: readonly Version[], metric: string) {
  const old = [...rows].reverse();
  const thresholds = old.map((row) => (row.gate?.metric === metric ? (row.gate.threshold ?? null) : null));
  const values = old.map((row) => row.metrics[metric] ?? null);
  const names = old.map((row) => `version ${row.version}`);
  const gated = thresholds.some((each) => each !== null);
  return {
    option: {
      xAxis: { type: "category", data: names, axisTick: { alignWithLabel: true } },
      yAxis: { type: "value", scale: true, splitNumber: 4 },
      series: [
        { name: metric, type: "line", data: values, symbolSize: 8, connectNulls: true },
        ...(gated
          ? [
              {
                name: "gate",
                type: "line",
                step: "middle",
                symbol: "none",
                data: thresholds,
                lineStyle: { type: "dashed", width: 1.5 },
              },
            ]
          : []),
      ],
    },
    figures: {
      columns: ["Version", metric, "Gate"],
      rows: old.map((_, index) => [names[index] ?? "", values[index] ?? null, thresholds[index] ?? null]),
    },
  };
}
