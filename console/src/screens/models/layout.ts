/**
 * Where the nodes of a lineage stand: a column for each step from what was asked for, upstream to the left, and
 * within a column near what they are joined to, so that few lines cross.
 */

import type { Schemas } from "../../api/types";

type Graph = Schemas["LineageGraph"];

export interface Place {
  x: number;
  y: number;
}

export const COLUMN = 150;
export const ROW = 100;
const SWEEPS = 6;

export function layout(graph: Graph): { places: Map<string, Place>; columns: number; rows: number } {
  const columns = new Map<number, string[]>();
  const sorted = [...graph.nodes].sort((a, b) => a.kind.localeCompare(b.kind) || a.id.localeCompare(b.id));
  for (const { ref, distance } of sorted) columns.set(distance, [...(columns.get(distance) ?? []), ref]);
  const order = [...columns.keys()].sort((a, b) => a - b);
  const near = neighbours(graph);
  const height = new Map<string, number>();
  const spread = (column: string[]) => {
    column.forEach((ref, index) => {
      height.set(ref, index - (column.length - 1) / 2);
    });
  };
  for (const column of columns.values()) spread(column);
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    for (const distance of sweep % 2 ? [...order].reverse() : order) {
      const column = columns.get(distance) ?? [];
      const wish = new Map(column.map((ref) => [ref, mean(ref, near, height)]));
      column.sort((a, b) => (wish.get(a) ?? 0) - (wish.get(b) ?? 0));
      spread(column);
    }
  }
  const places = new Map<string, Place>();
  for (const [distance, column] of columns)
    for (const ref of column) places.set(ref, { x: distance * COLUMN, y: (height.get(ref) ?? 0) * ROW });
  return {
    places,
    columns: order.length,
    rows: Math.max(1, ...[...columns.values()].map((column) => column.length)),
  };
}

function neighbours(graph: Graph): Map<string, string[]> {
  const found = new Map<string, string[]>();
  const join = (from: string, to: string) => found.set(from, [...(found.get(from) ?? []), to]);
  for (const { source, target } of graph.edges) {
    join(source, target);
    join(target, source);
  }
  return found;
}

function mean(ref: string, near: Map<string, string[]>, height: Map<string, number>): number {
  const heights = (near.get(ref) ?? []).map((each) => height.get(each) ?? 0);
  if (heights.length === 0) return height.get(ref) ?? 0;
  return heights.reduce((sum, each) => sum + each, 0) / heights.length;
}
