/** A version's schema and profile, as the platform writes them, put together by column. */

import type { Schemas } from "../../api/types";
import { DASH, number, percent } from "../../parts/figures";

export interface ColumnProfile {
  count?: number;
  nulls?: number;
  non_finite?: number;
  distinct?: number;
  min?: number | string | null;
  max?: number | string | null;
  mean?: number | null;
  std?: number | null;
  quantiles?: Record<string, number | null> | null;
  top?: { value: unknown; count: number }[] | null;
  histogram?: { edges: number[]; counts: number[] } | null;
}

export interface DataColumn {
  name: string;
  type: string;
  nullable: boolean;
  /** The checks of the schema, in words. */
  checks: string;
  profile: ColumnProfile;
  personal: string[];
}

interface SchemaColumn {
  name: string;
  type: string;
  nullable?: boolean;
  minimum?: unknown;
  maximum?: unknown;
  allowed?: unknown[];
}

export function columnsOf(version: Schemas["DatasetVersion"]): DataColumn[] {
  const declared = (version.schema.columns ?? []) as SchemaColumn[];
  const profiles = (version.profile.columns ?? {}) as Record<string, ColumnProfile>;
  return declared.map((column) => ({
    name: column.name,
    type: column.type,
    nullable: column.nullable === true,
    checks: checks(column),
    profile: profiles[column.name] ?? {},
    personal: (version.personal_data ?? [])
      .filter((finding) => finding.column === column.name && finding.counts)
      .map((finding) => finding.kind.replaceAll("_", " ")),
  }));
}

function checks({ minimum, maximum, allowed }: SchemaColumn): string {
  const said: string[] = [];
  if (minimum !== undefined && minimum !== null) said.push(`from ${shown(minimum)}`);
  if (maximum !== undefined && maximum !== null) said.push(`to ${shown(maximum)}`);
  if (allowed?.length) said.push(`one of ${allowed.map(shown).join(", ")}`);
  return said.join(" ") || "any value";
}

export function shown(value: unknown): string {
  if (value === null || value === undefined) return DASH;
  if (typeof value === "number") return number(value);
  return String(value).replace(/T00:00:00(\+00:00|Z)?$/, ""); // a day is a day
}

export function missing({ nulls, count }: ColumnProfile): string {
  return count ? percent((nulls ?? 0) / count) : DASH;
}

/** What is drawn of a column: the bins of its numbers, or its most frequent values. */
export function bars(profile: ColumnProfile): { names: string[]; counts: number[] } | null {
  const { histogram, top } = profile;
  if (histogram && histogram.counts.length > 1)
    return {
      names: histogram.counts.map(
        (_, bin) => `${shown(histogram.edges[bin])} to ${shown(histogram.edges[bin + 1])}`,
      ),
      counts: histogram.counts,
    };
  if (top?.length)
    return { names: top.map(({ value }) => shown(value)), counts: top.map(({ count }) => count) };
  return null;
}
