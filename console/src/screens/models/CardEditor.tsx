import { Text, Textarea } from "@mantine/core";
import { useState } from "react";
import { answer, api } from "../../api/client";
import type { Schemas } from "../../api/types";
import { FormButton } from "../../parts/form";
import { SECTIONS, said } from "./sections";

/** Writes the sections that are text. What else a card holds stays as it is. */
export function CardEditor({ card }: { card: Schemas["ModelCard"] }) {
  const [texts, setTexts] = useState<Record<string, string>>({});
  const editable = Object.keys(SECTIONS).filter(
    (key) => !said(card.card[key]) || typeof card.card[key] === "string",
  );
  const begin = () =>
    setTexts(
      Object.fromEntries(editable.map((key) => [key, said(card.card[key]) ? String(card.card[key]) : ""])),
    );
  const path = { name: card.name, version: card.version };
  return (
    <FormButton
      label="Edit"
      title={`Card of ${card.name}, version ${card.version}`}
      needs="train_model"
      verb="Save the card"
      size="compact-xs"
      wide
      begin={begin}
      done="The card is saved"
      send={() =>
        answer(
          api.PUT("/api/v1/models/{name}/versions/{version}/card", {
            params: { path },
            body: { card: merged(card.card, texts) },
          }),
        )
      }
    >
      <Text size="sm">Approvals that were given on the card as it is now become void.</Text>
      {editable.map((key) => (
        <Textarea
          key={key}
          label={SECTIONS[key]}
          description={card.missing.includes(key) ? "A model of this risk needs it." : undefined}
          autosize
          minRows={2}
          maxRows={10}
          value={texts[key] ?? ""}
          onChange={(event) => {
            const { value } = event.currentTarget;
            setTexts((before) => ({ ...before, [key]: value }));
          }}
        />
      ))}
    </FormButton>
  );
}

function merged(card: Record<string, unknown>, texts: Record<string, string>): Record<string, unknown> {
  const changed: Record<string, unknown> = { ...card };
  for (const [key, text] of Object.entries(texts)) {
    if (text.trim()) changed[key] = text;
    else delete changed[key];
  }
  return changed;
}
