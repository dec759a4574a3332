/** Any evidence as lines to be read; what is long is counted, and opened by whoever wants it. */

import { Stack } from "@mantine/core";
import { Facts, Json } from "../../../parts/facts";
import { More } from "../../../parts/more";
import { Table } from "../../../parts/table";
import { type Bag, bag, isPlain, line, list, words } from "../../../parts/unknown";

type Fact = [name: string, value: React.ReactNode];

const SHOWN = 8;

export function Findings({ of, without = [] }: { of: Bag; without?: readonly string[] }) {
  const facts = Object.entries(of)
    .filter(([name]) => !without.includes(name))
    .flatMap(([name, value]) => told(words(name), value));
  return facts.length > 0 ? <Facts of={facts} /> : null;
}

/** Everything, as the platform keeps it. */
export function Whole({ of, label = "All of the evidence, as it is kept" }: { of: unknown; label?: string }) {
  return (
    <More label={label}>
      <Json of={of} label={label} />
    </More>
  );
}

function told(name: string, value: unknown): Fact[] {
  if (Array.isArray(value)) return [[name, <Items key={name} label={name} of={value} />]];
  if (isPlain(value)) return [[name, line(value)]];
  const entries = Object.entries(bag(value));
  if (entries.length === 0) return [[name, "none"]];
  if (entries.every(([, item]) => isPlain(item))) return [[name, line(value)]];
  return entries.flatMap(([inner, item]) => told(`${name}: ${words(inner)}`, item));
}

function Items({ label, of }: { label: string; of: unknown[] }) {
  if (of.every(isPlain)) {
    const said = of.map(line).join(", ") || "none";
    return of.length <= SHOWN ? said : <More label={`${of.length} items`}>{said}</More>;
  }
  return (
    <More label={`${of.length} ${of.length === 1 ? "item" : "items"}`}>
      <Rows label={label} of={of} />
    </More>
  );
}

interface Row {
  id: string;
  row: Bag;
}

/** Objects of the same kind as a table. */
export function Rows({ label, of }: { label: string; of: unknown[] }) {
  const rows: Row[] = list(of).map((row, index) => ({ row: bag(row), id: String(index) }));
  const columns = [...new Set(rows.flatMap(({ row }) => Object.keys(row)))];
  return (
    <Stack gap={0}>
      <Table
        label={label}
        rows={rows}
        id={({ id }) => id}
        columns={columns.map((name) => ({
          name: words(name),
          cell: ({ row }: Row) => line(row[name]),
          number: rows.every(({ row }) => typeof row[name] === "number"),
        }))}
      />
    </Stack>
  );
}
