/** The columns of a version: what the schema asks of each, and what it was found to hold. */

import { Group, Text } from "@mantine/core";
import { useMemo, useState } from "react";
import type { Schemas } from "../../api/types";
import { Chart } from "../../parts/chart";
import { Facts } from "../../parts/facts";
import { number } from "../../parts/figures";
import { Panel } from "../../parts/page";
import { Table } from "../../parts/table";
import { bars, columnsOf, type DataColumn, missing, shown } from "./profile";

export function Columns({ of }: { of: Schemas["DatasetVersion"] }) {
  const columns = useMemo(() => columnsOf(of), [of]);
  const [chosen, setChosen] = useState<string | null>(null);
  const open = columns.find((column) => column.name === chosen) ?? mostTelling(columns);
  return (
    <>
      {open && <Distribution of={open} rows={of.rows} />}
      <Panel
        title={`Columns of version ${of.version}`}
        flush
        actions={
          <Text size="sm" c="dimmed">
            {number(of.rows)} rows, {number(of.columns)} columns
          </Text>
        }
      >
        <Table
          label="Columns"
          rows={columns}
          id={(column) => column.name}
          columns={[
            {
              name: "Column",
              cell: (column) => (
                <button
                  type="button"
                  className="as-link"
                  aria-pressed={column.name === open?.name}
                  onClick={() => setChosen(column.name)}
                >
                  {column.name}
                </button>
              ),
              by: (column) => column.name,
            },
            { name: "Type", cell: (column) => column.type, by: (column) => column.type },
            {
              name: "Schema asks",
              cell: (column) => `${column.checks}${column.nullable ? ", may be missing" : ""}`,
            },
            { name: "Personal", cell: (column) => column.personal.join(", ") },
            {
              name: "Missing",
              number: true,
              cell: (column) => missing(column.profile),
              by: (column) => column.profile.nulls,
            },
            {
              name: "Distinct",
              number: true,
              cell: (column) => number(column.profile.distinct),
              by: (column) => column.profile.distinct,
            },
            { name: "Least", number: true, cell: (column) => shown(column.profile.min) },
            {
              name: "Mean",
              number: true,
              cell: (column) => number(column.profile.mean),
              by: (column) => column.profile.mean,
            },
            { name: "Greatest", number: true, cell: (column) => shown(column.profile.max) },
          ]}
        />
      </Panel>
    </>
  );
}

/** Numbers with many values are drawn first: their shape says most. */
function mostTelling(columns: DataColumn[]): DataColumn | undefined {
  const drawable = columns.filter((column) => bars(column.profile) && column.personal.length === 0);
  return (
    drawable.find((column) => column.profile.histogram && (column.profile.distinct ?? 0) > 20) ?? drawable[0]
  );
}

function Distribution({ of, rows }: { of: DataColumn; rows: number }) {
  const drawn = useMemo(() => {
    const found = bars(of.profile);
    if (!found) return null;
    return {
      option: {
        xAxis: { type: "category", data: found.names },
        yAxis: { type: "value", splitNumber: 3 },
        series: [
          {
            name: "rows",
            type: "bar",
            data: found.counts,
            barCategoryGap: of.profile.histogram ? "4%" : "35%",
          },
        ],
      },
      figures: {
        columns: [of.name, "Rows"],
        rows: found.names.map((name, index) => [name, found.counts[index] ?? 0]),
      },
    };
  }, [of]);
  const { quantiles, std, mean } = of.profile;
  return (
    <Panel title={`What ${of.name} holds`}>
      <Group align="flex-start" gap="lg">
        <div style={{ flex: "2 1 320px", minWidth: 0 }}>
          {drawn ? (
            <Chart
              label={`Rows by the values of ${of.name}`}
              option={drawn.option}
              figures={drawn.figures}
              height={190}
            />
          ) : (
            <Text size="sm">
              Nothing is drawn of it: what a column says of persons is counted, and kept nowhere else than in
              its rows.
            </Text>
          )}
        </div>
        <div style={{ flex: "1 1 200px" }}>
          <Facts
            of={[
              ["Rows", number(rows)],
              ["Missing", `${number(of.profile.nulls)} (${missing(of.profile)})`],
              ["Distinct", number(of.profile.distinct)],
              ["Range", `${shown(of.profile.min)} to ${shown(of.profile.max)}`],
              [
                "Mean",
                mean === null || mean === undefined ? null : `${number(mean)}, deviation ${number(std)}`,
              ],
              ["Median", quantiles ? number(quantiles["0.5"]) : null],
              [
                "Middle half",
                quantiles ? `${number(quantiles["0.25"])} to ${number(quantiles["0.75"])}` : null,
              ],
            ]}
          />
        </div>
      </Group>
    </Panel>
  );
}
