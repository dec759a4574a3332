/**
 * Charts by ECharts, in the page's own colours, and the same figures as a table for whoever cannot see them.
 * Only what is used of ECharts is loaded, and only by screens that draw.
 */

import { Button, Collapse, Stack, useComputedColorScheme } from "@mantine/core";
import { BarChart, GraphChart, LineChart, ScatterChart } from "echarts/charts";
import { GridComponent, LegendComponent, MarkLineComponent, TooltipComponent } from "echarts/components";
import { type EChartsCoreOption, type EChartsType, init, use } from "echarts/core";
import { CanvasRenderer } from "echarts/renderers";
import { useEffect, useRef, useState } from "react";
import { number } from "./figures";

use([
  BarChart,
  LineChart,
  ScatterChart,
  GraphChart,
  GridComponent,
  LegendComponent,
  TooltipComponent,
  MarkLineComponent,
  CanvasRenderer,
]);

const PALETTE = {
  light: ["#3b5bdb", "#c2530b", "#0b7a75", "#9c36b5", "#5c6b00", "#b3325f"],
  dark: ["#91a7ff", "#ffa94d", "#63d2cd", "#e599f7", "#c0d65c", "#faa2c1"],
};

export interface Figures {
  columns: string[];
  rows: (string | number | null)[][];
}

export function Chart({
  label,
  option,
  figures,
  height = 240,
  onPick,
}: {
  /** What the chart shows, in words: its name for a screen reader. */
  label: string;
  option: EChartsCoreOption;
  /** The same as a table. */
  figures?: Figures;
  height?: number;
  /** Called with the datum that was pressed. */
  onPick?: (datum: unknown) => void;
}) {
  const place = useRef<HTMLDivElement>(null);
  const chart = useRef<EChartsType>(null);
  const [asTable, setAsTable] = useState(false);
  const scheme = useComputedColorScheme("light");
  const pick = useRef(onPick);
  pick.current = onPick;
  // biome-ignore lint/correctness/useExhaustiveDependencies: a chart is made anew for another colour scheme
  useEffect(() => {
    if (!place.current) return;
    const made = init(place.current);
    chart.current = made;
    made.on("click", (event) => pick.current?.(event.data));
    const watch = new ResizeObserver(() => made.resize());
    watch.observe(place.current);
    return () => {
      watch.disconnect();
      made.dispose();
    };
  }, [scheme]);
  useEffect(() => {
    chart.current?.setOption({ ...ground(scheme), ...withAxes(option, scheme) }, { notMerge: true });
  }, [option, scheme]);
  return (
    <Stack gap={4}>
      <div ref={place} role="img" aria-label={label} style={{ height, width: "100%" }} />
      {figures && (
        <>
          <div>
            <Button
              variant="subtle"
              size="compact-xs"
              aria-expanded={asTable}
              onClick={() => setAsTable(!asTable)}
            >
              {asTable ? "Hide the figures" : "Show the figures"}
            </Button>
          </div>
          <Collapse expanded={asTable}>{asTable && <FigureTable label={label} figures={figures} />}</Collapse>
        </>
      )}
    </Stack>
  );
}

function FigureTable({ label, figures }: { label: string; figures: Figures }) {
  return (
    <section
      className="table-frame"
      aria-label={`${label}: figures`}
      tabIndex={0}
      style={{ maxHeight: "16rem" }}
    >
      <table className="table">
        <thead>
          <tr>
            {figures.columns.map((name) => (
              <th scope="col" key={name}>
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {figures.rows.map((row) => (
            <tr key={String(row[0])}>
              {row.map((cell, column) => (
                <td key={figures.columns[column]}>
                  {typeof cell === "number" ? number(cell) : (cell ?? "–")}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

/** Axes that are read on either ground: the library's own greys are made for white. */
function withAxes(option: EChartsCoreOption, scheme: "light" | "dark"): EChartsCoreOption {
  const [text, line] = scheme === "light" ? ["#4b5563", "#e2e5ea"] : ["#a9b1bd", "#2b2f37"];
  const dressed = (axis: unknown): unknown => {
    if (Array.isArray(axis)) return axis.map(dressed);
    const given = axis as Record<string, Record<string, unknown> | undefined>;
    return {
      ...given,
      axisLabel: { color: text, ...given.axisLabel },
      nameTextStyle: { color: text, ...given.nameTextStyle },
      axisLine: { lineStyle: { color: text }, ...given.axisLine },
      splitLine: { lineStyle: { color: line }, ...given.splitLine },
    };
  };
  const axes = ["xAxis", "yAxis"].filter((name) => option[name]);
  return { ...option, ...Object.fromEntries(axes.map((name) => [name, dressed(option[name])])) };
}

/** What all charts share. Tooltips are drawn on the canvas: nothing that a chart shows becomes markup. */
function ground(scheme: "light" | "dark"): EChartsCoreOption {
  const text = scheme === "light" ? "#4b5563" : "#a9b1bd";
  return {
    color: PALETTE[scheme],
    animationDuration: 200,
    textStyle: { fontFamily: "system-ui, sans-serif", color: text },
    grid: { left: 8, right: 12, top: 28, bottom: 4, containLabel: true },
    tooltip: { trigger: "axis", renderMode: "richText", confine: true },
    legend: { top: 0, right: 0, icon: "roundRect", itemWidth: 10, itemHeight: 4, textStyle: { color: text } },
  };
}
