/** Typical values of a model's columns, out of the profiles of what it was trained on and of its features. */

import { useQueries, useQuery } from "@tanstack/react-query";
import { answer, api } from "../../../api/client";
import type { Schemas } from "../../../api/types";
import { bag, figure, list, text } from "../../../parts/unknown";

export interface Typical {
  /** What stands in the field first. */
  value: string;
  /** The values that there are, where they are few. */
  choices: string[];
}

interface Known {
  of: ReadonlyMap<string, Typical>;
  from: string[];
}

/** `customers@3`, the versions whose profiles say something about the columns. */
export function useTypical(
  team: string,
  version: Schemas["ModelVersion"],
  view: Schemas["FeatureView"] | undefined,
): Known {
  const { data: job } = useQuery({
    queryKey: [team, "jobs", version.job_id],
    queryFn: () =>
      answer(api.GET("/api/v1/jobs/{job_id}", { params: { path: { job_id: version.job_id ?? "" } } })),
    enabled: version.job_id !== null,
    staleTime: 60_000,
  });
  const inputs = Object.values(job?.inputs ?? {}).map((input) => datasetOf(input.reference));
  const asked = [view && { name: view.dataset, number: view.dataset_version }, ...inputs].filter(
    (each) => !!each,
  );
  const profiles = useQueries({
    queries: asked.map(({ name, number }) => ({
      queryKey: [team, "datasets", name, number],
      queryFn: () =>
        answer(
          api.GET("/api/v1/datasets/{name}/versions/{version}", {
            params: { path: { name, version: number } },
          }),
        ),
      staleTime: 60_000,
    })),
  });
  const of = new Map<string, Typical>();
  for (const profile of profiles)
    for (const [column, facts] of Object.entries(bag(bag(profile.data?.profile).columns)))
      if (!of.has(column)) of.set(column, typical(bag(facts)));
  return { of, from: asked.map(({ name, number }) => `${name}@${number}`) };
}

function datasetOf(reference: string): { name: string; number: number } | null {
  const found = /^(?:dataset:)?([a-z0-9_-]+)@(\d+)$/.exec(reference);
  return found?.[1] ? { name: found[1], number: Number(found[2]) } : null;
}

function typical(facts: Record<string, unknown>): Typical {
  const top = list(facts.top).map((each) => String(bag(each).value));
  const median = figure(bag(facts.quantiles)["0.5"]);
  const few = (figure(facts.distinct) ?? Number.POSITIVE_INFINITY) <= top.length;
  if (few) return { value: top[0] ?? "", choices: text(facts.type) === "boolean" ? [] : top };
  if (median !== null)
    return { value: String(facts.type === "double" ? median : Math.round(median)), choices: [] };
  return { value: top[0] ?? "", choices: [] };
}
