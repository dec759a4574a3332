/** A form's fields out of a model's signature, and what was typed as a row of it. */

import { type Bag, bag, list, text } from "../../../parts/unknown";

export type Kind = "number" | "whole" | "yes-no" | "text" | "moment";

export interface Field {
  name: string;
  kind: Kind;
  required: boolean;
  /** Looked up in the feature store unless it is given. */
  lookedUp: boolean;
  /** An entity key: by it features are looked up. */
  key: boolean;
}

const KINDS: Record<string, Kind> = {
  boolean: "yes-no",
  integer: "whole",
  long: "whole",
  int64: "whole",
  int32: "whole",
  float: "number",
  double: "number",
  float64: "number",
  float32: "number",
  datetime: "moment",
};

export function kindOf(type: unknown): Kind {
  return KINDS[String(type).toLowerCase()] ?? "text";
}

/** The view's entities come first, then what has to be given, then what is looked up. */
export function fieldsOf(
  signature: Bag | null | undefined,
  view: { entities: { name: string; type: string }[]; features: { name: string }[] } | undefined,
): Field[] {
  const features = new Set(view?.features.map(({ name }) => name));
  const columns = list(bag(signature).inputs).map(bag);
  const keys = (view?.entities ?? [])
    .filter(({ name }) => !columns.some((column) => column.name === name))
    .map(
      ({ name, type }): Field => ({ name, kind: kindOf(type), required: true, lookedUp: false, key: true }),
    );
  const rest = columns.map((column): Field => {
    const name = text(column.name) ?? "";
    const lookedUp = features.has(name);
    return {
      name,
      kind: kindOf(column.type),
      required: column.required !== false && !lookedUp,
      lookedUp,
      key: view?.entities.some((entity) => entity.name === name) ?? false,
    };
  });
  return [...keys, ...rest.filter((each) => !each.lookedUp), ...rest.filter((each) => each.lookedUp)];
}

export function paramsOf(signature: Bag | null | undefined): Field[] {
  return list(bag(signature).params).map((param) => ({
    name: text(bag(param).name) ?? "",
    kind: bag(param).shape ? "text" : kindOf(bag(param).type),
    required: false,
    lookedUp: false,
    key: false,
  }));
}

export type Typed = Record<string, string>;

/** The row, without what was left empty; and the fields that must not be. */
export function rowOf(fields: readonly Field[], typed: Typed): { row: Bag; missing: string[] } {
  const row: Bag = {};
  const missing: string[] = [];
  for (const field of fields) {
    const value = typedAs(field, typed[field.name] ?? "");
    if (value !== undefined) row[field.name] = value;
    else if (field.required) missing.push(field.name);
  }
  return { row, missing };
}

function typedAs({ kind }: Field, typed: string): unknown {
  if (typed.trim() === "") return undefined;
  if (kind === "yes-no") return typed === "true";
  if (kind === "number" || kind === "whole") {
    const value = Number(typed);
    return Number.isFinite(value) ? value : typed; // the model's own words say what is wrong with it
  }
  return typed;
}

/** A layout of tensors has columns "0" to "n-1", and its rows are lists. */
export function instanceOf(signature: Bag | null | undefined, row: Bag): unknown {
  if (bag(signature).layout !== "tensor") return row;
  return list(bag(signature).inputs).map((column) => row[text(bag(column).name) ?? ""] ?? null);
}
