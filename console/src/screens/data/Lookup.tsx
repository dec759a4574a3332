/** The online values of one entity, for those who may read data. */

import { Button, Group, TextInput } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { answer, api } from "../../api/client";
import { useMay } from "../../api/me";
import type { Schemas } from "../../api/types";
import { Panel } from "../../parts/page";
import { Failed } from "../../parts/states";
import { Table } from "../../parts/table";
import { shown } from "./profile";

export function Lookup({ view }: { view: Schemas["FeatureView"] }) {
  const may = useMay("read_data");
  const [keys, setKeys] = useState<Record<string, string>>({});
  const look = useMutation({
    mutationFn: () =>
      answer(
        api.POST("/api/v1/feature-views/{name}/online", {
          params: { path: { name: view.name } },
          body: { keys: [keyOf(view, keys)] },
        }),
      ),
  });
  if (!may || !view.materialized_at) return null;
  return (
    <Panel title="Look up">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          look.mutate();
        }}
      >
        <Group align="flex-end">
          {view.entities.map((entity) => (
            <TextInput
              key={entity.name}
              label={entity.name}
              required
              value={keys[entity.name] ?? ""}
              onChange={(event) => {
                const { value } = event.currentTarget;
                setKeys((before) => ({ ...before, [entity.name]: value }));
              }}
            />
          ))}
          <Button type="submit" loading={look.isPending}>
            Look up
          </Button>
        </Group>
      </form>
      {look.error && <Failed error={look.error} />}
      {look.data && (
        <Table
          label="Online values"
          rows={Object.entries(look.data.columns)}
          id={([name]) => name}
          columns={[
            { name: "Name", cell: ([name]) => name },
            { name: "Value", cell: ([, values]) => shown(values[0]) },
          ]}
        />
      )}
    </Panel>
  );
}

/** Keys are whole numbers where the entity is one, else text. */
function keyOf(view: Schemas["FeatureView"], keys: Record<string, string>): Record<string, string | number> {
  return Object.fromEntries(
    view.entities.map(({ name, type }) => {
      const text = (keys[name] ?? "").trim();
      return [name, type.startsWith("INT") && /^-?\d+$/.test(text) ? Number(text) : text];
    }),
  );
}
