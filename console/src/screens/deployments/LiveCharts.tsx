/** Latency, requests and errors of each revision as they come in: half a minute at a time, every five seconds. */

import { SegmentedControl, SimpleGrid, Stack, Text } from "@mantine/core";
import { useMemo, useState } from "react";
import { Chart, type Figures } from "../../parts/chart";
import { Panel } from "../../parts/page";
import { Failed } from "../../parts/states";
import type { Traffic } from "./api";
import { type Moment, useSeries } from "./series";

const QUANTILES = { p50: "latency_ms_p50", p95: "latency_ms_p95", p99: "latency_ms_p99" } as const;
type Quantile = keyof typeof QUANTILES | "all";

export function LiveCharts({ team, id }: { team: string; id: string }) {
  const { moments, error } = useSeries(team, id);
  const [quantile, setQuantile] = useState<Quantile>("all");
  const latency = useMemo(() => drawn(moments, latencies(quantile), "ms"), [moments, quantile]);
  const rate = useMemo(() => drawn(moments, [["", (each) => each.requests_per_second]], "/s"), [moments]);
  const errors = useMemo(() => drawn(moments, [["", (each) => 100 * each.error_rate]], "%"), [moments]);
  return (
    <Panel
      title="Live"
      actions={
        <SegmentedControl
          size="xs"
          aria-label="Which latency"
          data={["all", "p50", "p95", "p99"]}
          value={quantile}
          onChange={(value) => setQuantile(value as Quantile)}
        />
      }
    >
      {error && moments.length === 0 ? (
        <Failed error={error} />
      ) : (
        <Stack gap="md">
          <Titled title="Latency of answers, in ms">
            <Chart
              label="Latency by revision, in milliseconds"
              option={latency.option}
              figures={latency.figures}
              height={230}
            />
          </Titled>
          <SimpleGrid cols={{ base: 1, md: 2 }}>
            <Titled title="Requests a second">
              <Chart
                label="Requests a second by revision"
                option={rate.option}
                figures={rate.figures}
                height={170}
              />
            </Titled>
            <Titled title="Errors, in % of the requests">
              <Chart
                label="Share of errors by revision, in percent"
                option={errors.option}
                figures={errors.figures}
                height={170}
              />
            </Titled>
          </SimpleGrid>
          <Text size="xs" c="dimmed">
            Each point is the half minute before it, since this page was opened. No line means no requests.
          </Text>
        </Stack>
      )}
    </Panel>
  );
}

function Titled({ title, children }: { title: string; children: React.ReactNode }) {
  return (
    <div>
      <Text size="sm" fw={600} component="h3" m={0}>
        {title}
      </Text>
      {children}
    </div>
  );
}

type Reading = [name: string, read: (traffic: Traffic) => number | null];

function latencies(quantile: Quantile): Reading[] {
  const names = quantile === "all" ? (["p50", "p95", "p99"] as const) : [quantile];
  return names.map((name) => [name, (traffic) => traffic[QUANTILES[name]]]);
}

const DASHES: Record<string, string> = { p50: "dotted", p95: "solid", p99: "dashed" };

/** A line for each revision and reading; the moments before a revision had requests stay empty. */
function drawn(moments: readonly Moment[], readings: Reading[], unit: string) {
  const revisions = new Map(
    moments.flatMap(({ revisions: all }) => all.map((each) => [each.revision_id, each] as const)),
  );
  const lines = [...revisions.values()].flatMap((revision) =>
    readings.map(([name, read]) => ({
      name: `${revision.model_name}/${revision.model_version}${name && ` ${name}`}`,
      dash: DASHES[name] ?? "solid",
      values: moments.map(({ at, revisions: all }) => {
        const found = all.find((each) => each.revision_id === revision.revision_id);
        return [at, found && found.requests > 0 ? read(found) : null] as [number, number | null];
      }),
    })),
  );
  const last = moments.at(-1)?.at ?? Date.now();
  const figures: Figures = {
    columns: ["Time", ...lines.map((each) => each.name)],
    rows: [...moments.entries()]
      .reverse()
      .map(([index, { at }]) => [
        new Date(at).toLocaleTimeString("en-GB"),
        ...lines.map((each) => each.values[index]?.[1] ?? null),
      ]),
  };
  const option = {
    animation: false,
    grid: { left: 8, right: 12, top: 30, bottom: 4, containLabel: true },
    xAxis: {
      type: "time",
      min: Math.min(moments[0]?.at ?? last, last - 120_000),
      max: last,
      axisLabel: { hideOverlap: true },
    },
    yAxis: { type: "value", min: 0, axisLabel: { formatter: `{value} ${unit}` }, splitNumber: 4 },
    series: lines.map((each) => ({
      type: "line",
      name: each.name,
      showSymbol: moments.length < 3,
      connectNulls: false,
      lineStyle: { width: 1.6, type: each.dash },
      data: each.values,
    })),
  };
  return { option, figures };
}
