/** The evidence of the stages that check: validate, security, build and the smoke test. */

import { Stack, Title } from "@mantine/core";
import { Facts } from "../../../parts/facts";
import { milliseconds, number } from "../../../parts/figures";
import { Status } from "../../../parts/status";
import { type Bag, bag, figure, line, list, text } from "../../../parts/unknown";
import { Explanation } from "./Explanation";
import { Findings, Rows } from "./Findings";

const SHORT = 12;

export function ValidateEvidence({ of }: { of: Bag }) {
  const same = of.artifact_digest === of.registered_digest;
  const lineage = bag(of.lineage);
  const personal = bag(of.personal_data);
  const missing = list(of.model_card_missing);
  return (
    <Stack gap="sm">
      <Facts
        of={[
          [
            "artifact",
            <Said key="a" good={same}>
              {same ? `as registered, ${short(of.artifact_digest)}` : "changed since it was registered"}
            </Said>,
          ],
          ["registered by", line(of.registered_by)],
          ["flavours", line(of.flavours)],
          ["signature of its columns", line(of.signature)],
          [
            "rows to try it with",
            of.reference_data ? "held-out data" : of.input_example ? "its input example" : "none",
          ],
          ["feature view", line(of.feature_view)],
          ["trained on", line(lineage.data ?? lineage.declared_data)],
          ["by the run", line(lineage.run_id)],
          [
            "missing in the model card",
            <Said key="c" good={missing.length === 0}>
              {line(missing)}
            </Said>,
          ],
          [
            "personal data",
            <Said key="p" good={list(personal.warnings).length === 0}>
              {personalWords(personal)}
            </Said>,
          ],
          ["asked for by", line(bag(of.starter).asked_by)],
        ]}
      />
      <Findings of={of} without={VALIDATE_TOLD} />
    </Stack>
  );
}

const VALIDATE_TOLD = [
  ...[
    "artifact_digest",
    "registered_digest",
    "registered_by",
    "flavours",
    "signature",
    "reference_data",
    "input_example",
  ],
  ...[
    "feature_view",
    "lineage",
    "model_card",
    "model_card_missing",
    "personal_data",
    "starter",
    "risk",
    "version_id",
    "model",
  ],
];

export function SecurityEvidence({ of }: { of: Bag }) {
  const signature = bag(of.signature);
  const advisories = bag(of.advisories);
  const found = list(advisories.found);
  const secrets = list(of.secrets);
  const findings = list(of.serialisation);
  const parts = list(bag(of.bill_of_materials).components);
  return (
    <Stack gap="sm">
      <Facts
        of={[
          [
            "signature",
            <Said key="s" good={signature.verified === true}>
              {signature.verified
                ? `${line(signature.form)}, ${number(figure(signature.files))} files`
                : line(signature.why)}
            </Said>,
          ],
          [
            "reaches outside when loaded",
            <Said key="d" good={of.dangerous === 0}>
              {line(of.dangerous)}
            </Said>,
          ],
          ["could not be read", line(of.unreadable)],
          [
            "advisories",
            <Said key="v" good={advisories.scanned === true && found.length === 0}>
              {advisories.scanned
                ? `${found.length} of ${number(figure(advisories.packages))} packages`
                : line(advisories.note ?? of.advisories)}
            </Said>,
          ],
          [
            "secrets",
            <Said key="x" good={secrets.length === 0}>
              {secrets.length === 0 ? "none found" : String(secrets.length)}
            </Said>,
          ],
          ["bill of materials", `${parts.length} components`],
        ]}
      />
      {found.length > 0 && <Rows label="Advisories" of={found} />}
      {secrets.length > 0 && <Rows label="What looks like a secret" of={secrets} />}
      {findings.length > 0 && <Rows label="What loading would import" of={findings} />}
    </Stack>
  );
}

export function BuildEvidence({ of }: { of: Bag }) {
  return (
    <Stack gap="sm">
      <Facts
        of={[
          ["in a sentence", line(of.summary)],
          ["runtime", line(of.runtime)],
          ["bundle", short(of.bundle_digest)],
          ["converted by", line(of.converted_by)],
          ["warnings", line(of.warnings)],
          ["used again", line(of.reused)],
        ]}
      />
      <Findings
        of={{
          parity: of.parity,
          rebuilt_because: of.rebuilt_because,
          not_converted_because: of.not_converted_because,
        }}
      />
    </Stack>
  );
}

export function SmokeEvidence({ of }: { of: Bag }) {
  const latency = bag(of.latency);
  const explained = bag(of.explanation);
  const budget = figure(bag(latency.budget).p95_ms);
  const values = bag(explained.explanation);
  return (
    <Stack gap="sm">
      <Facts
        of={[
          ["rows", number(figure(of.rows))],
          ["median", milliseconds(figure(latency.p50_ms))],
          [
            "p95",
            `${milliseconds(figure(latency.p95_ms))}${budget === null ? ", no budget" : ` of ${milliseconds(budget)}`}`,
          ],
          ["same answers as the bundle", of.same_as_bundle === true ? "yes" : line(of.same_as_bundle)],
          ["predictions", line(of.predictions)],
          ["explainable", line(explained.explainable ?? explained.why)],
        ]}
      />
      {Object.keys(values).length > 0 && (
        <>
          <Title order={4}>Why its first answer is what it is</Title>
          <Explanation of={values} />
        </>
      )}
    </Stack>
  );
}

export function Said({ good, children }: { good: boolean; children: React.ReactNode }) {
  return (
    <Status of={good ? "ok" : "warning"} tone={good ? "good" : "warn"}>
      <span style={{ whiteSpace: "normal" }}>{children}</span>
    </Status>
  );
}

function short(digest: unknown): string {
  return text(digest)?.slice(0, SHORT) ?? "none";
}

function personalWords(personal: Bag): string {
  if (Object.keys(personal).length === 0) return "nobody looked";
  const warnings = list(personal.warnings);
  return warnings.length > 0 ? warnings.map(line).join("; ") : "nothing that its card does not explain";
}
