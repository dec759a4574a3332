/** The risk that the approval is bound to, each assessment with its reason and what raised it. */

import { Progress, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { answer, api } from "../../api/client";
import type { Schemas } from "../../api/types";
import { Panel } from "../../parts/page";
import { Status } from "../../parts/status";
import { Table } from "../../parts/table";
import { type Bag, bag, figure, line, list, words } from "../../parts/unknown";
import { When } from "../../parts/when";

export function Risk({ team, of }: { team: string; of: Schemas["ApprovalDetail"] }) {
  const { data: now } = useQuery({
    queryKey: [team, "models", of.model_name, "risk"],
    queryFn: () =>
      answer(api.GET("/api/v1/models/{name}/risk", { params: { path: { name: of.model_name } } })),
    staleTime: 60_000,
  });
  const then = Object.entries(bag(bag(of.evidence.risk).assessments)).map(([name, given]) => ({
    name,
    given: bag(given),
  }));
  const shown =
    then.length > 0
      ? then
      : Object.entries(now?.assessments ?? {}).map(([name, given]) => ({ name, given: given as Bag }));
  return (
    <Panel
      title="Risk"
      flush
      actions={<Status of={of.risk_level}>{`${of.risk_level}, ${of.risk_score} of 50`}</Status>}
    >
      <Table
        label="Assessments of the risk"
        rows={shown}
        id={({ name }) => name}
        columns={[
          { name: "Assessment", cell: ({ name }) => words(name), width: "10rem" },
          { name: "Score", cell: ({ name, given }) => <Score name={name} of={given} />, width: "8rem" },
          { name: "Reason", cell: ({ given }) => line(given.reason) },
          { name: "Raised by", cell: ({ given }) => line(list(given.because)) },
        ]}
      />
      {now && (
        <Text size="sm" c="dimmed" px="md" py="xs">
          Answered by {now.answered_by} <When at={now.answered_at} />
          {now.score === of.risk_score
            ? ""
            : `; by now it is ${now.level} at ${now.score}, and an approval on other answers is void`}
          .
        </Text>
      )}
    </Panel>
  );
}

function Score({ name, of }: { name: string; of: Bag }) {
  const score = figure(of.score) ?? 0;
  return (
    <>
      {score} of 10
      <Progress
        aria-label={`${words(name)}: ${score} of 10`}
        value={score * 10}
        size="xs"
        color={score >= 7 ? "red.8" : score >= 4 ? "orange.8" : "indigo"}
      />
    </>
  );
}
