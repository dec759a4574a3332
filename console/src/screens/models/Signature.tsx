/** What the version takes and gives, as MLflow's signature has it. */

import { useMemo } from "react";
import type { Schemas } from "../../api/types";
import { Panel } from "../../parts/page";
import { Empty } from "../../parts/states";
import { Table } from "../../parts/table";

interface Field {
  way: string;
  name: string;
  type: string;
  required: boolean;
}

export function Signature({ of }: { of: Schemas["ModelVersion"] }) {
  const fields = useMemo(
    () => [...read("takes", of.signature?.inputs), ...read("gives", of.signature?.outputs)],
    [of],
  );
  return (
    <Panel title="Signature" flush>
      <Table
        label="Signature"
        rows={fields}
        id={(field) => `${field.way} ${field.name}`}
        empty={
          <Empty title="No signature">
            Without one it cannot be deployed: log the model with signature=…
          </Empty>
        }
        columns={[
          { name: "Name", cell: (field) => field.name, by: (field) => field.name },
          { name: "Way", cell: (field) => field.way, by: (field) => field.way },
          { name: "Type", cell: (field) => field.type, by: (field) => field.type },
          { name: "Needed", cell: (field) => (field.way === "takes" ? (field.required ? "yes" : "no") : "") },
        ]}
      />
    </Panel>
  );
}

/** MLflow keeps the two sides as lists of columns or tensors, sometimes as the JSON text of one. */
function read(way: string, side: unknown): Field[] {
  const list = typeof side === "string" ? parsed(side) : side;
  if (!Array.isArray(list)) return [];
  return list.map((entry: Record<string, unknown>, place) => ({
    way,
    name:
      typeof entry.name === "string" ? entry.name : `${way === "takes" ? "column" : "answer"} ${place + 1}`,
    type: typeOf(entry),
    required: entry.required !== false && entry.optional !== true,
  }));
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function typeOf(entry: Record<string, unknown>): string {
  const tensor = entry["tensor-spec"] as { dtype?: string; shape?: number[] } | undefined;
  if (tensor) return `${tensor.dtype} [${tensor.shape?.map((size) => (size < 0 ? "any" : size)).join(", ")}]`;
  return typeof entry.type === "string" ? entry.type : JSON.stringify(entry.type ?? entry);
}
