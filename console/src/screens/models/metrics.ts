/** What is known of metrics by their names. */

const KNOWN = ["roc_auc", "accuracy", "f1", "precision", "recall", "log_loss", "rmse", "mae", "r2"];

const LOWER = /(^|_)(loss|error|rmse|mae|mse|mape|brier|deviance)(_|$)/;
const HIGHER = /(^|_)(accuracy|auc|f1|precision|recall|r2|score|map|ndcg|specificity|sensitivity)(_|$)/;

/** Whether a number is better when it is smaller. */
export function lowerIsBetter(metric: string): boolean {
  return LOWER.test(metric);
}

/** Which way is better, or null where the name does not tell. */
export function betterWay(metric: string): "lower" | "higher" | null {
  if (LOWER.test(metric)) return "lower";
  return HIGHER.test(metric) ? "higher" : null;
}

/** Counts are metrics of a run, but say nothing about quality. */
export function isCount(metric: string): boolean {
  return /(^|_)(rows|count|samples)$/.test(metric);
}

/** Each once: those that people look at first, then the others by name, counts last. */
export function telling(metrics: string[]): string[] {
  const place = (metric: string) =>
    KNOWN.includes(metric) ? KNOWN.indexOf(metric) : isCount(metric) ? 99 : 50;
  return [...new Set(metrics)].sort((a, b) => place(a) - place(b) || a.localeCompare(b));
}
