/** How a version runs: its resources, its budget, and what it does without its features. */

import { Facts } from "../../parts/facts";
import { number } from "../../parts/figures";
import { type Bag, bag, figure, line, text } from "../../parts/unknown";

export function Config({ of }: { of: Bag }) {
  const resources = bag(of.resources);
  const budget = bag(of.budget);
  const features = bag(of.features);
  const gpus = figure(resources.gpus) ?? 0;
  return (
    <Facts
      of={[
        ...(of.replicas === undefined ? [] : [["Copies", copies(of)] as [string, string]]),
        [
          "Each copy has",
          `${line(resources.cpu)} ${resources.cpu === 1 ? "core" : "cores"}, ${line(resources.memory_mb)} MiB${gpus > 0 ? `, ${gpus} GPUs` : ""}`,
        ],
        [
          "Budget",
          [limit(budget.p95_ms, "ms at p95"), limit(budget.memory_mb, "MiB")]
            .filter((each) => each !== null)
            .join(", ") || "none: measured and not judged",
        ],
        ["While the feature store is away", text(features.on_store_failure) ?? "requests fail"],
      ]}
    />
  );
}

function limit(value: unknown, unit: string): string | null {
  const most = figure(value);
  return most === null ? null : `${number(most)} ${unit}`;
}

function copies(of: Bag): string {
  if (of.auto_scale !== true) return line(of.replicas);
  return `${line(of.replicas)} to ${of.max_replicas === null ? "as many as it takes" : line(of.max_replicas)}`;
}
