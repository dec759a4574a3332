/** The lineage as a drawing to pan and zoom. Everything in it stands in the list below it as well. */

import { ActionIcon, Group, useComputedColorScheme } from "@mantine/core";
import { IconFocusCentered, IconMinus, IconPlus } from "@tabler/icons-react";
import { useMemo, useState } from "react";
import type { Schemas } from "../../api/types";
import { Chart } from "../../parts/chart";
import { COLUMN, layout, ROW } from "./layout";
import { GROUPS, groupOf, kindWords, nameOf } from "./nodes";

const TEXT = { light: "#1f2937", dark: "#e4e7ec" };
const FAINT = { light: "#4b5563", dark: "#a9b1bd" };
const LINE = { light: "#8a94a3", dark: "#6d7786" };
const WIDE = 960;

interface Props {
  graph: Schemas["LineageGraph"];
  chosen: string;
  choose: (ref: string) => void;
}

export function LineageGraph({ graph, chosen, choose }: Props) {
  const scheme = useComputedColorScheme("light");
  const [zoom, setZoom] = useState(1);
  const drawn = useMemo(() => ({ ...layout(graph) }), [graph]);
  const option = useMemo(
    () => optionOf(graph, drawn.places, { scheme, chosen, zoom }),
    [graph, drawn, scheme, chosen, zoom],
  );
  // As high as its longest column at the scale at which its columns fill the page.
  const scale = Math.min(1, WIDE / (drawn.columns * COLUMN));
  const height = Math.min(640, Math.max(260, (drawn.rows * ROW + 90) * Math.max(scale, 0.8)));
  return (
    <>
      <Group justify="flex-end" gap={4}>
        <ActionIcon variant="default" aria-label="Zoom in" onClick={() => setZoom(Math.min(6, zoom * 1.4))}>
          <IconPlus size={14} />
        </ActionIcon>
        <ActionIcon
          variant="default"
          aria-label="Zoom out"
          onClick={() => setZoom(Math.max(0.3, zoom / 1.4))}
        >
          <IconMinus size={14} />
        </ActionIcon>
        <ActionIcon
          variant="default"
          aria-label="Show all of it"
          onClick={() => setZoom(zoom === 1 ? 1.0001 : 1)}
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
    </>
  );
}

interface Look {
  scheme: "light" | "dark";
  chosen: string;
  zoom: number;
}

function optionOf(graph: Schemas["LineageGraph"], places: ReturnType<typeof layout>["places"], look: Look) {
  const { scheme, chosen, zoom } = look;
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
        scaleLimit: { min: 0.3, max: 8 },
        nodeScaleRatio: 0,
        left: 70,
        right: 70,
        top: 50,
        bottom: 50,
        categories: GROUPS.map((name) => ({ name })),
        edgeSymbol: ["none", "arrow"],
        edgeSymbolSize: 7,
        lineStyle: { color: LINE[scheme], width: 1.2, curveness: 0.06 },
        emphasis: { focus: "adjacency", lineStyle: { width: 2.5 } },
        label: {
          show: true,
          position: "bottom",
          width: 120,
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
