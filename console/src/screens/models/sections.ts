/** The sections of a model card that have a name of their own. */

export const SECTIONS: Record<string, string> = {
  intended_use: "Intended use",
  out_of_scope: "Out of scope",
  training_data: "Training data",
  evaluation_data: "Evaluation data",
  ethical_considerations: "Ethical considerations",
  limitations: "Limitations",
  fairness: "Fairness",
};

export function titleOf(key: string): string {
  return SECTIONS[key] ?? key.replaceAll("_", " ");
}

export function said(value: unknown): boolean {
  if (value === null || value === undefined) return false;
  if (typeof value === "string") return value.trim() !== "";
  return typeof value !== "object" || Object.keys(value).length > 0;
}
