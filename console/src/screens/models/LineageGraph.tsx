/** The lineage as a drawing to pan and zoom. Everything in it stands in the list below it as well. */

import { ActionIcon, Group, useComputedColorScheme } from "@mantine/core";
import { useElementSize } from "@mantine/hooks";
import { IconFocusCentered, IconMinus, IconPlus } from "@tabler/icons-react";
import { useMemo, useState } from "react";
import type { Schemas } from "../../api/types";
import { Chart } from "../../parts/chart";
import { COLUMN, layout, ROW } from "./layout";
import { GROUPS, groupOf, kindWords, nameOf } from "./nodes";

const TEXT = { light: "#1f2937", dark: "#e4e7ec" };
const FAINT = { light: "#4b5563", dark: "#a9b1bd" };
const LINE = { light: "#8a94a3", dark: "#6d7786" };
/** What a column must have of the screen for its names to be read, and what is kept free around the drawing. */
const READABLE = 84;
const MARGIN = { x: 66, top: 48, bottom: 46 };

interface Props {
  graph: Schemas["LineageGraph"];
  chosen: string;
  choose: (ref: string) => void;
}

export function LineageGraph({ graph, chosen, choose }: Props) {
  const scheme = useComputedColorScheme("light");
  const { ref, width } = useElementSize();
  const [magnified, setMagnified] = useState(1);
  const drawn = useMemo(() => layout(graph), [graph]);
  // The whole of it, unless its names could not be read then: on a narrow screen it begins at what was asked for.
  const fitting = (width - 2 * MARGIN.x) / Math.max(1, (drawn.columns - 1) * COLUMN);
  const start = fitting > 0 ? Math.max(1, READABLE / (fitting * COLUMN)) : 1;
  const zoom = start * magnified;
  const height = Math.min(
    620,
    Math.max(230, (drawn.rows - 1) * ROW * Math.min(1, Math.max(fitting * start, 0.5)) + 110),
  );
  const option = useMemo(
    () => optionOf(graph, drawn.places, { scheme, chosen, zoom, centred: start > 1 }),
    [graph, drawn, scheme, chosen, zoom, start],
  );
  return (
    <div ref={ref}>
      <Group justify="flex-end" gap={4}>
        <ActionIcon
          variant="default"
          aria-label="Zoom in"
          onClick={() => setMagnified(Math.min(6, magnified * 1.4))}
        >
          <IconPlus size={14} />
        </ActionIcon>
        <ActionIcon
          variant="default"
          aria-label="Zoom out"
          onClick={() => setMagnified(Math.max(0.3, magnified / 1.4))}
        >
          <IconMinus size={14} />
        </ActionIcon>
        <ActionIcon
          variant="default"
          aria-label="Show all of it"
          onClick={() => setMagnified(magnified === 1 ? 1.0001 : 1)}
        >
          <IconFocusCentered size={14} />
        </ActionIcon>
      </Group>
      <Chart
        label={`Lineage: ${graph.nodes.length} things and ${graph.edges.length} connections; the list below has them all`}
        option={option}
        height={height}
        onPick={(datum) => {
          const ref = (datum as { id?: unknown } | undefined)?.id;
          if (typeof ref === "string") choose(ref);
        }}
      />
    </div>
  );
}

interface Look {
  scheme: "light" | "dark";
  chosen: string;
  zoom: number;
  centred: boolean;
}

function optionOf(graph: Schemas["LineageGraph"], places: ReturnType<typeof layout>["places"], look: Look) {
  const { scheme, chosen, zoom, centred } = look;
  const root = places.get(graph.root);
  return {
    tooltip: { trigger: "item", renderMode: "richText", confine: true },
    legend: {
      top: 0,
      left: 0,
      data: [...GROUPS],
      icon: "circle",
      itemWidth: 9,
      itemHeight: 9,
      textStyle: { color: FAINT[scheme] },
    },
    series: [
      {
        type: "graph",
        layout: "none",
        roam: true,
        zoom,
        ...(centred && root ? { center: [root.x, root.y] } : {}),
        scaleLimit: { min: 0.2, max: 12 },
        nodeScaleRatio: 0.01, // nodes keep their size, whatever the zoom
        preserveAspect: "contain",
        left: MARGIN.x,
        right: MARGIN.x,
        top: MARGIN.top,
        bottom: MARGIN.bottom,
        categories: GROUPS.map((name) => ({ name })),
        edgeSymbol: ["none", "arrow"],
        edgeSymbolSize: 7,
        lineStyle: { color: LINE[scheme], width: 1.2, curveness: 0.06 },
        emphasis: { focus: "adjacency", lineStyle: { width: 2.5 } },
        label: {
          show: true,
          position: "bottom",
          width: 92,
          overflow: "truncate",
          fontSize: 11,
          lineHeight: 13,
          color: TEXT[scheme],
        },
        data: graph.nodes.map((node) => ({
          id: node.ref,
          name: `${nameOf(node)}\n${kindWords(node.kind)}`,
          category: groupOf(node.kind),
          symbol: node.ref === graph.root ? "roundRect" : "circle",
          symbolSize: node.ref === graph.root ? 22 : 15,
          itemStyle: {
            borderColor: TEXT[scheme],
            borderWidth: node.ref === chosen ? 2.5 : 0,
            opacity: node.expanded ? 1 : 0.6,
          },
          ...(places.get(node.ref) ?? { x: 0, y: 0 }),
        })),
        edges: graph.edges.map(({ source, target, relation }) => ({
          source,
          target,
          tooltip: { formatter: () => relation.replaceAll("_", " ") },
        })),
      },
    ],
  };
}
