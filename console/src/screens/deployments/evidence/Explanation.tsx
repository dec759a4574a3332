/** Why the model predicted what it did: what each column added to, or took from, what it predicts on average. */

import { Select, Stack, Text } from "@mantine/core";
import { useMemo, useState } from "react";
import { Chart } from "../../../parts/chart";
import { number } from "../../../parts/figures";
import { type Bag, bag, figure, line, list } from "../../../parts/unknown";

const SHOWN = 12;

export function Explanation({ of, label = "What each column added" }: { of: Bag; label?: string }) {
  const classes = list(of.classes).map(bag);
  const [picked, setPicked] = useState<string | null>(null);
  const chosen = classes.find((each) => line(each.class) === picked) ?? classes[0];
  return (
    <Stack gap="xs">
      {classes.length > 0 && (
        <Select
          label="Towards the class"
          maw={240}
          data={classes.map((each) => line(each.class))}
          value={line(chosen?.class)}
          allowDeselect={false}
          onChange={setPicked}
        />
      )}
      <Bars of={chosen ?? of} label={label} />
    </Stack>
  );
}

function Bars({ of, label }: { of: Bag; label: string }) {
  const { top, rest, base } = useMemo(() => sorted(of), [of]);
  const option = useMemo(() => bars(top), [top]);
  return (
    <Stack gap={4}>
      <Text size="sm">
        On average the model predicts {number(base, 4)}; the bars lead from there to its answer.
        {rest.length > 0 && ` ${rest.length} columns with smaller parts are in the figures.`}
      </Text>
      <Chart
        label={`${label}: ${top.map(([name, value]) => `${name} ${number(value)}`).join(", ")}`}
        option={option}
        height={Math.max(120, 34 + top.length * 24)}
        figures={{ columns: ["Column", "Part"], rows: [...top, ...rest] }}
      />
    </Stack>
  );
}

function sorted(of: Bag): { top: [string, number][]; rest: [string, number][]; base: number | null } {
  const parts = Object.entries(bag(of.values))
    .map(([name, value]): [string, number] => [name, figure(value) ?? 0])
    .sort(([, a], [, b]) => Math.abs(b) - Math.abs(a));
  return { top: parts.slice(0, SHOWN), rest: parts.slice(SHOWN), base: figure(of.base_value) };
}

function bars(top: [string, number][]) {
  const shown = [...top].reverse();
  return {
    legend: { show: false },
    grid: { left: 8, right: 56, top: 4, bottom: 4, containLabel: true },
    xAxis: { type: "value", axisLabel: { show: false }, splitLine: { show: false } },
    yAxis: {
      type: "category",
      data: shown.map(([name]) => name),
      axisTick: { show: false },
      axisLine: { show: false },
    },
    series: [
      {
        type: "bar",
        barMaxWidth: 16,
        data: shown.map(([, value]) => ({
          value,
          itemStyle: { color: value >= 0 ? "#c2530b" : "#3b5bdb" },
          label: { show: true, position: value >= 0 ? "right" : "left", formatter: signed(value) },
        })),
      },
    ],
  };
}

function signed(value: number): string {
  return `${value > 0 ? "+" : ""}${number(value)}`;
}
