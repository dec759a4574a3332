/** Numbers, sizes and spans of time as people read them. Unknown is a dash, never a zero. */

export const DASH = "–";

export function number(value: number | null | undefined, digits = 3): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return DASH;
  if (Number.isInteger(value)) return value.toLocaleString("en-GB");
  const whole = Math.max(0, Math.floor(Math.log10(Math.abs(value))) + 1);
  return value.toLocaleString("en-GB", {
    maximumSignificantDigits: Math.max(digits, whole + (whole > 3 ? 1 : 0), 1),
  });
}

export function percent(share: number | null | undefined, digits = 1): string {
  if (share === null || share === undefined) return DASH;
  return `${(share * 100).toLocaleString("en-GB", { maximumFractionDigits: digits })} %`;
}

export function milliseconds(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return DASH;
  return value >= 1000 ? `${number(value / 1000)} s` : `${number(value)} ms`;
}

export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined) return DASH;
  const units = ["B", "KB", "MB", "GB", "TB"];
  const power = value > 0 ? Math.min(Math.floor(Math.log10(value) / 3), units.length - 1) : 0;
  return `${number(value / 1000 ** power)} ${units[power]}`;
}

/** How long something took, or has been going. */
export function span(from: string | null | undefined, to?: string | null, now = Date.now()): string {
  if (!from) return DASH;
  const seconds = Math.max(0, ((to ? Date.parse(to) : now) - Date.parse(from)) / 1000);
  return seconds < 60 ? `${number(seconds, 2)} s` : roughly(seconds);
}

/** "3 minutes", from seconds. */
export function roughly(seconds: number): string {
  const steps: [number, string][] = [
    [86_400, "day"],
    [3_600, "hour"],
    [60, "minute"],
    [1, "second"],
  ];
  const [size, unit] = steps.find(([each]) => seconds >= each) ?? [1, "second"];
  const count = Math.floor(seconds / size);
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}

/** "3 minutes ago" or "in 2 days". */
export function ago(moment: string, now = Date.now()): string {
  const seconds = (now - Date.parse(moment)) / 1000;
  if (Math.abs(seconds) < 5) return "just now";
  return seconds > 0 ? `${roughly(seconds)} ago` : `in ${roughly(-seconds)}`;
}

export function local(moment: string): string {
  return new Date(moment).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });
}
