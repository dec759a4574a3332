/** What a deployment would meet: each gate, who must agree, what it costs. */

import { Stack, Text } from "@mantine/core";
import { keepPreviousData, type UseQueryResult, useQuery } from "@tanstack/react-query";
import { answer, api } from "../../api/client";
import type { Schemas } from "../../api/types";
import { Facts } from "../../parts/facts";
import { number } from "../../parts/figures";
import { Loaded } from "../../parts/states";
import { Status } from "../../parts/status";
import { Table } from "../../parts/table";
import { needs } from "./RiskPanel";

type Planned = Schemas["DeploymentPlan"];

export function usePlan(team: string, model: string, body: Schemas["DeployRequest"]) {
  return useQuery({
    queryKey: [team, "plan", model, body],
    queryFn: () =>
      answer(
        api.POST("/api/v1/models/{model_id}/deploy/plan", { params: { path: { model_id: model } }, body }),
      ),
    placeholderData: keepPreviousData,
    staleTime: 0,
  });
}

export function Plan({ query }: { query: UseQueryResult<Planned> }) {
  return (
    <Loaded query={query} lines={6}>
      {(plan) => (
        <Stack gap="sm" aria-live="polite">
          <Status of={plan.allowed ? "passes" : "stops"}>
            {plan.allowed
              ? "nothing stands in its way"
              : `the gate “${words(plan.stopped_by)}” would stop it`}
          </Status>
          <Facts
            of={[
              ["Risk", plan.risk_level ? `${plan.risk_level}, ${plan.risk_score} of 50` : "not answered"],
              ["Approval", plan.approval ? needs(plan.approval) : "nobody has to agree"],
              [
                "Traffic",
                plan.canary ? "moves in steps, watched (canary)" : "all at once: nothing serves there yet",
              ],
              ["Cost", <Cost key="cost" of={plan.cost} />],
            ]}
          />
          <Table
            label="Gates"
            rows={plan.gates}
            id={(gate) => gate.stage}
            columns={[
              { name: "Gate", cell: (gate) => words(gate.stage) },
              { name: "Outcome", cell: (gate) => <Status of={gate.outcome} /> },
              { name: "Why", cell: (gate) => gate.detail },
            ]}
          />
        </Stack>
      )}
    </Loaded>
  );
}

function words(stage: string | null): string {
  return (stage ?? "unknown").replaceAll("_", " ");
}

function Cost({ of }: { of: Schemas["PlannedCost"] }) {
  if (of.monthly === null || of.monthly === undefined) return <Text size="sm">{of.detail}</Text>;
  const money = (amount: number | null | undefined) => `${number(amount)} ${of.currency ?? ""}`.trim();
  const more = of.difference_monthly ?? 0;
  return (
    <>
      <b>{money(of.monthly)}</b> a month
      {of.at_most_monthly ? `, at most ${money(of.at_most_monthly)}` : ""}
      {more !== 0 && `; ${money(Math.abs(more))} ${more > 0 ? "more" : "less"} than now`}
      {of.predictions_monthly !== null &&
        of.predictions_monthly !== undefined &&
        `; predictions ${money(of.predictions_monthly)} by the last hour's traffic`}
      <Text size="sm" c="dimmed">
        {of.detail}
      </Text>
    </>
  );
}
