/** What a node of the lineage is called, and which group of things it belongs to. */

import type { Schemas } from "../../api/types";

export type Node = Schemas["LineageNode"];
type Kind = Schemas["LineageKind"];

export const GROUPS = ["data", "training", "models", "serving", "watching"] as const;

const GROUP_OF: Record<Kind, (typeof GROUPS)[number]> = {
  dataset: "data",
  feature_view: "data",
  training_set: "data",
  source: "training",
  environment: "training",
  job: "training",
  run: "training",
  model: "models",
  revision: "serving",
  deployment: "serving",
  predictions: "serving",
  prediction: "serving",
  ground_truth: "watching",
  drift_check: "watching",
  retraining: "watching",
};

export function groupOf(kind: Kind): number {
  return GROUPS.indexOf(GROUP_OF[kind]);
}

export function kindWords(kind: Kind): string {
  return kind === "model" ? "model version" : kind.replaceAll("_", " ");
}

/** What people call it, where that is known; else the end of its id, which tells ids of one kind apart. */
export function nameOf(node: Node): string {
  const details = node.details ?? {};
  const said = (key: string) => (typeof details[key] === "string" ? (details[key] as string) : undefined);
  switch (node.kind) {
    case "deployment":
      return said("name") ? `${said("environment")}/${said("name")}` : node.id;
    case "revision":
      return said("model") ?? tail(node.id);
    case "job":
      return said("experiment") ? `${said("experiment")}, ${tail(node.id)}` : tail(node.id);
    case "drift_check":
      return said("verdict") ? `${said("verdict")?.replaceAll("_", " ")}, ${tail(node.id)}` : tail(node.id);
    case "dataset":
    case "feature_view":
    case "model":
      return node.id;
    case "run":
    case "environment":
      return node.id.replace(/^sha256:/, "").slice(0, 8);
    default:
      return tail(node.id);
  }
}

function tail(id: string): string {
  return id.length > 12 ? `…${id.slice(-6)}` : id;
}
