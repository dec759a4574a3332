/** The risk questionnaire: what was answered, what evidence raised, whose approval follows from it. */

import { Group, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { answer, api } from "../../api/client";
import { ProblemError } from "../../api/problem";
import type { Schemas } from "../../api/types";
import { Panel } from "../../parts/page";
import { Empty, Failed, Loading } from "../../parts/states";
import { Status } from "../../parts/status";
import { When } from "../../parts/when";
import { Questionnaire } from "./Questionnaire";

export function RiskPanel({ team, name }: { team: string; name: string }) {
  const query = useQuery({
    queryKey: [team, "models", name, "risk"],
    queryFn: () => risk(name),
  });
  return (
    <Panel title="Risk" actions={query.data !== undefined && <Questionnaire name={name} risk={query.data} />}>
      {query.error && <Failed error={query.error} again={() => query.refetch()} />}
      {query.isPending && <Loading />}
      {query.data === null && (
        <Empty title="Its risk is not answered">
          Five questions decide who must approve it. Without the answers nothing of it goes into production.
        </Empty>
      )}
      {query.data && <Answered of={query.data} />}
    </Panel>
  );
}

/** Null while nobody has answered. */
async function risk(name: string): Promise<Schemas["ModelRisk"] | null> {
  try {
    return await answer(api.GET("/api/v1/models/{name}/risk", { params: { path: { name } } }));
  } catch (error) {
    if (error instanceof ProblemError && error.status === 404) return null;
    throw error;
  }
}

function Answered({ of }: { of: Schemas["ModelRisk"] }) {
  return (
    <Stack gap="sm">
      <Group gap="md">
        <span className="number-big">{of.score}</span>
        <Text size="sm" component="div">
          of 50
          <br />
          <Status of={of.level}>{of.level} risk</Status>
        </Text>
      </Group>
      <ul className="plain">
        {Object.entries(of.assessments).map(([question, given]) => (
          <li key={question}>
            <Assessment question={question} given={given} />
          </li>
        ))}
      </ul>
      <Text size="sm">
        Production needs {needs(of.approval)}, within {of.approval.within_hours} hours.
      </Text>
      <Text size="sm" c="dimmed" component="div">
        Answered by {of.answered_by} <When at={of.answered_at} />
      </Text>
    </Stack>
  );
}

function Assessment({ question, given }: { question: string; given: Schemas["AnsweredAssessment"] }) {
  const because = given.because ?? [];
  return (
    <>
      <Group justify="space-between" wrap="nowrap" gap="xs">
        <Text size="sm" fw={600}>
          {question.replaceAll("_", " ")}
        </Text>
        <Text size="sm" className="figures">
          {given.score} of 10
        </Text>
      </Group>
      <div className="bar" aria-hidden>
        <span style={{ width: `${given.score * 10}%` }} />
      </div>
      <Text size="sm" c="dimmed">
        {given.reason}
      </Text>
      {because.length > 0 && (
        <Text size="sm">
          Raised from {given.answered ?? 0} by evidence: {because.join("; ")}
        </Text>
      )}
    </>
  );
}

/** "manager and senior data scientist", from seats and the quorum. */
export function needs(of: Schemas["ApprovalRequirement"]): string {
  const words = (seat: string) => seat.replaceAll("_", " ");
  const mandatory = of.mandatory.map(words);
  const others = Object.keys(of.seats)
    .filter((seat) => !of.mandatory.includes(seat))
    .map(words);
  const more = of.quorum - of.mandatory.length;
  const parts = mandatory.length > 0 ? [mandatory.join(" and ")] : [];
  if (more > 0) parts.push(`${more} of ${others.join(", ")}`);
  return parts.join(", and ") || "nobody's approval";
}
