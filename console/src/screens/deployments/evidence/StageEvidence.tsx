/** What a stage found, laid out for who has to decide about it. */

import { Stack } from "@mantine/core";
import type { Bag } from "../../../parts/unknown";
import { BuildEvidence, SecurityEvidence, SmokeEvidence, ValidateEvidence } from "./Checks";
import { Findings, Whole } from "./Findings";
import { TestEvidence } from "./TestEvidence";

const LAYOUTS: Record<string, React.ComponentType<{ of: Bag }>> = {
  validate: ValidateEvidence,
  security: SecurityEvidence,
  test: TestEvidence,
  build: BuildEvidence,
  smoke_test: SmokeEvidence,
};

export function StageEvidence({ stage, of }: { stage: string; of: Bag }) {
  const Layout = LAYOUTS[stage];
  return (
    <Stack gap="sm">
      {Layout ? <Layout of={of} /> : <Findings of={of} />}
      <Whole of={of} />
    </Stack>
  );
}
