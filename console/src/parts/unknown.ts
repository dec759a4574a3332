/** Evidence and other free-form JSON: read with care, since nothing says what stands where. */

import { number } from "./figures";

export type Bag = Record<string, unknown>;

export function bag(value: unknown): Bag {
  return value !== null && typeof value === "object" && !Array.isArray(value) ? (value as Bag) : {};
}

export function list(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

export function figure(value: unknown): number | null {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

export function text(value: unknown): string | null {
  return typeof value === "string" && value !== "" ? value : null;
}

export function isPlain(value: unknown): boolean {
  return value === null || typeof value !== "object";
}

/** Any value as one line for people. */
export function line(value: unknown): string {
  if (value === null || value === undefined || value === "") return "none";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "number") return number(value, 4);
  if (typeof value === "string") return value;
  if (Array.isArray(value)) return value.length === 0 ? "none" : value.map(line).join(", ");
  const entries = Object.entries(bag(value));
  return entries.length === 0
    ? "none"
    : entries.map(([name, item]) => `${words(name)} ${line(item)}`).join(", ");
}

/** `smoke_test` as "smoke test". */
export function words(name: string): string {
  return name.replaceAll("_", " ");
}
