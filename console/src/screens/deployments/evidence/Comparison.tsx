/** Figures of a new version beside those of what serves, with what is better said in words. */

import { number } from "../../../parts/figures";
import { Table } from "../../../parts/table";
import { type Bag, figure, words } from "../../../parts/unknown";
import { betterWay } from "../../models/metrics";

export interface Compared {
  name: string;
  ours: number | null;
  theirs: number | null;
}

export function compared(ours: Bag, theirs: Bag): Compared[] {
  const names = [...new Set([...Object.keys(ours), ...Object.keys(theirs)])].sort();
  return names.map((name) => ({ name, ours: figure(ours[name]), theirs: figure(theirs[name]) }));
}

export function Comparison({
  label,
  rows,
  candidate,
  serving,
}: {
  label: string;
  rows: Compared[];
  candidate: string;
  /** What serves now; without it there is nothing to compare with. */
  serving: string | null;
}) {
  const known = rows.filter(({ ours, theirs }) => ours !== null || theirs !== null);
  const mine = { name: candidate, number: true, cell: (row: Compared) => number(row.ours, 4) };
  const others = [
    { name: serving ?? "", number: true, cell: (row: Compared) => number(row.theirs, 4) },
    { name: "Difference", number: true, cell: (row: Compared) => <Difference of={row} /> },
  ];
  return (
    <Table
      label={label}
      rows={known}
      id={({ name }) => name}
      columns={[
        { name: "Metric", cell: ({ name }) => words(name), by: ({ name }) => name },
        mine,
        ...(serving === null ? [] : others),
      ]}
    />
  );
}

function Difference({ of: { name, ours, theirs } }: { of: Compared }) {
  if (ours === null || theirs === null) return <>–</>;
  const by = ours - theirs;
  if (by === 0) return <>same</>;
  const signed = `${by > 0 ? "+" : "−"}${number(Math.abs(by), 2)}`;
  const base = name.split("/").at(-1) ?? name;
  const way = base === "score" ? null : betterWay(base);
  if (way === null) return <>{signed}</>;
  const better = by > 0 === (way === "higher");
  return (
    <span className={better ? "tone-good" : "tone-bad"}>
      {signed} {better ? "better" : "worse"}
    </span>
  );
}
