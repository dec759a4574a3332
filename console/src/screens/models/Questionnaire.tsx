import { Fieldset, Group, NumberInput, TextInput } from "@mantine/core";
import { useState } from "react";
import { answer, api } from "../../api/client";
import type { Schemas } from "../../api/types";
import { FormButton } from "../../parts/form";

const QUESTIONS = {
  business_impact: "What does a wrong answer cost?",
  customer_exposure: "How much do customers notice of it?",
  data_sensitivity: "How sensitive is the data that it learns from and is asked with?",
  regulatory_scope: "Do laws or rules apply to what it decides?",
  explainability: "Must somebody be able to say why it answered as it did?",
} as const;

type Question = keyof typeof QUESTIONS;
type Answers = Record<Question, { score: number; reason: string }>;

const ALL = Object.keys(QUESTIONS) as Question[];

/** The answers that are there, as a person gave them: what evidence raised is raised again by itself. */
function start(risk: Schemas["ModelRisk"] | null): Answers {
  const of = (question: Question) => {
    const given = risk?.assessments[question];
    return { score: given?.answered ?? given?.score ?? 0, reason: given?.reason ?? "" };
  };
  return Object.fromEntries(ALL.map((question) => [question, of(question)])) as Answers;
}

export function Questionnaire({ name, risk }: { name: string; risk: Schemas["ModelRisk"] | null }) {
  const [answers, setAnswers] = useState(() => start(risk));
  const set = (question: Question, change: Partial<Answers[Question]>) =>
    setAnswers((before) => ({ ...before, [question]: { ...before[question], ...change } }));
  const sum = ALL.reduce((total, question) => total + answers[question].score, 0);
  return (
    <FormButton
      label={risk ? "Answer anew" : "Answer"}
      title={`Risk of ${name}`}
      needs="train_model"
      verb={`Save: ${sum} of 50`}
      size="compact-xs"
      wide
      begin={() => setAnswers(start(risk))}
      ready={ALL.every((question) => answers[question].reason.trim() !== "")}
      done={`The risk of ${name} is answered`}
      send={() =>
        answer(api.PUT("/api/v1/models/{name}/risk", { params: { path: { name } }, body: answers }))
      }
    >
      {ALL.map((question) => (
        <Fieldset key={question} legend={`${question.replaceAll("_", " ")}: ${QUESTIONS[question]}`} p="sm">
          <Group align="flex-start" gap="sm">
            <NumberInput
              label="Score"
              description="0 to 10"
              required
              w={90}
              min={0}
              max={10}
              allowDecimal={false}
              value={answers[question].score}
              onChange={(value) => set(question, { score: Number(value) || 0 })}
            />
            <TextInput
              label="Reason"
              description="Approvers read it"
              required
              flex={1}
              miw={200}
              maxLength={200}
              value={answers[question].reason}
              onChange={(event) => set(question, { reason: event.currentTarget.value })}
            />
          </Group>
        </Fieldset>
      ))}
    </FormButton>
  );
}
