/**
 * A table of any length: only the rows in sight are in the page, and further pages are asked for when somebody
 * comes near the end of what is there.
 */

import { Center, Loader, VisuallyHidden } from "@mantine/core";
import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useRef, useState } from "react";
import { Empty, Failed, Loading } from "./states";

export interface Column<T> {
  name: string;
  cell: (row: T) => React.ReactNode;
  /** What the rows are ordered by when the column's head is pressed. Only where all rows are known. */
  by?: (row: T) => number | string | null | undefined;
  number?: boolean;
  width?: string;
}

interface More {
  has: boolean;
  load: () => void;
  loading: boolean;
  /** Why the next page did not come; it is asked for again only when somebody says so. */
  failed: unknown;
}

interface Props<T> {
  label: string;
  columns: Column<T>[];
  rows: readonly T[];
  id: (row: T) => string;
  empty?: React.ReactNode;
  more?: More;
}

const ROW = 37;
const VIRTUAL_FROM = 60;

export function Table<T>({ label, columns, rows, id, empty, more }: Props<T>) {
  const [order, setOrder] = useState<{ column: string; down: boolean } | null>(null);
  const frame = useRef<HTMLDivElement>(null);
  const sorted = sort(
    rows,
    columns.find((column) => column.name === order?.column)?.by,
    order?.down ?? false,
  );
  const virtual = rows.length > VIRTUAL_FROM;
  const virtualizer = useVirtualizer({
    count: sorted.length,
    enabled: virtual,
    getScrollElement: () => frame.current,
    estimateSize: () => ROW,
    overscan: 12,
  });
  const shown = virtual ? virtualizer.getVirtualItems() : [];
  const last = shown.at(-1)?.index ?? 0;
  const { has = false, loading = false, failed = null, load } = more ?? {};
  const near = !virtual || last >= rows.length - 40;
  useEffect(() => {
    if (near && has && !loading && !failed) load?.();
  }, [near, has, loading, failed, load]);
  if (rows.length === 0 && !has) return <>{empty ?? <Empty title="Nothing here yet" />}</>;
  const above = shown[0]?.start ?? 0;
  const below = virtual ? virtualizer.getTotalSize() - (shown.at(-1)?.end ?? 0) : 0;
  const line = (row: T) => (
    <>
      {columns.map((column) => (
        <td key={column.name} className={column.number ? "number" : undefined}>
          {column.cell(row)}
        </td>
      ))}
    </>
  );
  return (
    <section
      className="table-frame"
      ref={frame}
      aria-label={label}
      style={virtual ? { maxHeight: "70vh" } : undefined}
      tabIndex={0}
    >
      <table className={virtual ? "table sticky" : "table"} aria-rowcount={more?.has ? -1 : rows.length + 1}>
        <VisuallyHidden component="caption">{label}</VisuallyHidden>
        <thead>
          <tr>
            {columns.map((column) => (
              <Head key={column.name} column={column} order={order} set={setOrder} />
            ))}
          </tr>
        </thead>
        <tbody>
          {above > 0 && <tr aria-hidden style={{ height: above }} />}
          {virtual
            ? shown.map(({ index, key }) => {
                const row = sorted[index] as T;
                return (
                  <tr
                    key={key}
                    className="linked"
                    data-index={index}
                    aria-rowindex={index + 2}
                    ref={virtualizer.measureElement}
                  >
                    {line(row)}
                  </tr>
                );
              })
            : sorted.map((row) => (
                <tr key={id(row)} className="linked">
                  {line(row)}
                </tr>
              ))}
          {below > 0 && <tr aria-hidden style={{ height: below }} />}
        </tbody>
      </table>
      {more?.loading && (
        <Center p="xs">
          <Loader size="xs" aria-label="Loading more" />
        </Center>
      )}
      {failed !== null && <Failed error={failed} again={load} />}
    </section>
  );
}

function Head<T>({
  column,
  order,
  set,
}: {
  column: Column<T>;
  order: { column: string; down: boolean } | null;
  set: (order: { column: string; down: boolean }) => void;
}) {
  const mine = order?.column === column.name ? order : null;
  const sorted = mine ? (mine.down ? "descending" : "ascending") : undefined;
  return (
    <th
      scope="col"
      className={column.number ? "number" : undefined}
      style={{ width: column.width }}
      aria-sort={column.by ? (sorted ?? "none") : undefined}
    >
      {column.by ? (
        <button type="button" onClick={() => set({ column: column.name, down: mine ? !mine.down : true })}>
          {column.name}
          <span aria-hidden>{mine ? (mine.down ? " ↓" : " ↑") : ""}</span>
        </button>
      ) : (
        column.name
      )}
    </th>
  );
}

function sort<T>(rows: readonly T[], by: Column<T>["by"], down: boolean): readonly T[] {
  if (!by) return rows;
  const known = (value: unknown) => value !== null && value !== undefined;
  return [...rows].sort((a, b) => {
    const [left, right] = [by(a), by(b)];
    if (!known(left) || !known(right)) return Number(known(right)) - Number(known(left)); // unknown comes last
    const way =
      typeof left === "number" && typeof right === "number"
        ? left - right
        : String(left).localeCompare(String(right));
    return down ? -way : way;
  });
}

/** A list that the API gives by pages. */
export interface Pages<T> {
  rows: readonly T[] | undefined;
  error: unknown;
  more: More;
  again: () => void;
}

export function PagedTable<T>({ pages, ...table }: { pages: Pages<T> } & Omit<Props<T>, "rows" | "more">) {
  if (pages.rows) return <Table rows={pages.rows} more={pages.more} {...table} />;
  const inside = pages.error ? <Failed error={pages.error} again={pages.again} /> : <Loading lines={6} />;
  return <div style={{ padding: "1rem" }}>{inside}</div>;
}
