/** What a stage found, in half a line. */

import { milliseconds, number } from "../../../parts/figures";
import { type Bag, bag, figure, list, text } from "../../../parts/unknown";

const GISTS: Record<string, (of: Bag) => string | null> = {
  validate: (of) =>
    of.artifact_digest === of.registered_digest && of.artifact_digest
      ? "the artifact is the one that was registered"
      : null,
  security: (of) => {
    if (of.findings === undefined) return null;
    const advisories = bag(of.advisories);
    const known = advisories.scanned
      ? `${list(advisories.found).length} advisories`
      : "advisories not scanned";
    return `${number(figure(of.findings))} findings, ${list(of.secrets).length} secrets, ${known}`;
  },
  test: (of) => {
    const metric = text(of.metric);
    const value = metric ? figure(bag(of.metrics)[metric]) : null;
    if (value === null) return text(of.note);
    const gate = figure(bag(of.gate).threshold);
    return `${metric} ${number(value, 4)}${gate === null ? "" : ` (asked for: ${number(gate)})`} on ${number(figure(of.rows))} rows`;
  },
  approval: (of) => {
    if (of.required === false) return text(of.why);
    const how = of.automatic ? "granted by the rule" : (text(of.decision) ?? text(of.status));
    return `${text(of.risk_level) ?? ""} risk: ${how ?? ""}`;
  },
  build: (of) => text(of.summary),
  deploy: (of) => (of.state ? `the inference server reports it as ${of.state}` : null),
  smoke_test: (of) => {
    const p95 = figure(bag(of.latency).p95_ms);
    return p95 === null ? null : `${number(figure(of.rows))} rows answered, p95 ${milliseconds(p95)}`;
  },
  audit: (of) => (text(of.evidence_sha256) ? `sealed as ${text(of.evidence_sha256)?.slice(0, 12)}` : null),
  notify: (of) => (of.delivered === undefined ? null : `${number(figure(of.delivered))} told`),
};

export function gist(stage: string, of: Bag): string | null {
  return GISTS[stage]?.(of) ?? null;
}
