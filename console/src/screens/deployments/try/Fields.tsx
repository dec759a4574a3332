/** The inputs of the form, one for each column, by its type. */

import { Autocomplete, NumberInput, Select, SimpleGrid, TextInput } from "@mantine/core";
import type { Field, Typed } from "./signature";
import type { Typical } from "./typical";

export function Fields({
  fields,
  typed,
  set,
  typical,
  wrong,
}: {
  fields: readonly Field[];
  typed: Typed;
  set: (name: string, value: string) => void;
  typical?: ReadonlyMap<string, Typical>;
  /** What is wrong, by column. */
  wrong: Record<string, string>;
}) {
  return (
    <SimpleGrid cols={{ base: 1, xs: 2 }} spacing="xs" verticalSpacing="xs">
      {fields.map((field) => (
        <Input
          key={field.name}
          field={field}
          value={typed[field.name] ?? ""}
          set={(value) => set(field.name, value)}
          choices={typical?.get(field.name)?.choices ?? []}
          error={wrong[field.name]}
        />
      ))}
    </SimpleGrid>
  );
}

function Input({
  field,
  value,
  set,
  choices,
  error,
}: {
  field: Field;
  value: string;
  set: (value: string) => void;
  choices: string[];
  error: string | undefined;
}) {
  const shared = {
    size: "xs",
    label: field.name,
    error,
    required: field.required,
    placeholder: field.lookedUp ? "looked up" : field.required ? undefined : "may be missing",
  };
  switch (field.kind) {
    case "yes-no":
      return (
        <Select
          {...shared}
          data={[
            { value: "true", label: "yes" },
            { value: "false", label: "no" },
          ]}
          value={value || null}
          clearable={!field.required}
          onChange={(chosen) => set(chosen ?? "")}
        />
      );
    case "number":
    case "whole":
      return (
        <NumberInput
          {...shared}
          value={value}
          allowDecimal={field.kind === "number"}
          onChange={(typed) => set(String(typed))}
          hideControls
        />
      );
    case "moment":
      return (
        <TextInput
          {...shared}
          placeholder="2026-03-01T12:00:00Z"
          value={value}
          onChange={(event) => set(event.currentTarget.value)}
        />
      );
    default:
      return <Autocomplete {...shared} data={choices} value={value} onChange={set} />;
  }
}
