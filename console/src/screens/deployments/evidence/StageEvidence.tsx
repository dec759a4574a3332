/** What a stage found, laid out for who has to decide about it. */

import { Stack } from "@mantine/core";
import type { Bag } from "../../../parts/unknown";
import { BuildEvidence, SecurityEvidence, SmokeEvidence, ValidateEvidence } from "./Checks";
import { Findings, Whole } from "./Findings";
import { TestEvidence } from "./TestEvidence";

const LAYOUTS: Record<string, React.ComponentType<{ of: Bag; told?: boolean }>> = {
  validate: ValidateEvidence,
  security: SecurityEvidence,
  test: TestEvidence,
  build: BuildEvidence,
  smoke_test: SmokeEvidence,
};

export function StageEvidence({
  stage,
  of,
  told = false,
}: {
  stage: string;
  of: Bag;
  /** What compares it with what serves stands elsewhere on the page. */
  told?: boolean;
}) {
  const Layout = LAYOUTS[stage];
  return (
    <Stack gap="sm">
      {Layout ? <Layout of={of} told={told} /> : <Findings of={of} />}
      <Whole of={of} />
    </Stack>
  );
}
