/** What is known of metrics by their names. */

const KNOWN = ["roc_auc", "accuracy", "f1", "precision", "recall", "log_loss", "rmse", "mae", "r2"];

/** Whether a number is better when it is smaller. */
export function lowerIsBetter(metric: string): boolean {
  return /(^|_)(log_loss|rmse|mae|mse|loss|error|brier)/.test(metric);
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
