/** The model card: what its authors wrote, as text, and which sections a model of its risk still needs. */

import { Group, List, Stack, Text, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { answer, api } from "../../api/client";
import { saved } from "../../api/save";
import type { Schemas } from "../../api/types";
import { ActButton } from "../../parts/ask";
import { Json } from "../../parts/facts";
import { Panel } from "../../parts/page";
import { Empty, Loaded } from "../../parts/states";
import { Status } from "../../parts/status";
import { When } from "../../parts/when";
import { CardEditor } from "./CardEditor";
import { SECTIONS, said, titleOf } from "./sections";

export function Card({ team, name, version }: { team: string; name: string; version: number }) {
  const path = { name, version };
  const query = useQuery({
    queryKey: [team, "models", name, "versions", version, "card"],
    queryFn: () => answer(api.GET("/api/v1/models/{name}/versions/{version}/card", { params: { path } })),
  });
  return (
    <Panel
      title="Model card"
      actions={
        query.data && (
          <Group gap="xs">
            <Export name={name} version={version} form="markdown" />
            <Export name={name} version={version} form="html" />
            <CardEditor card={query.data} />
          </Group>
        )
      }
    >
      <Loaded query={query}>{(card) => <Sections of={card} />}</Loaded>
    </Panel>
  );
}

function Sections({ of }: { of: Schemas["ModelCard"] }) {
  const own = Object.keys(SECTIONS).filter((key) => said(of.card[key]) || of.missing.includes(key));
  const others = Object.keys(of.card).filter((key) => !(key in SECTIONS) && said(of.card[key]));
  if (own.length + others.length === 0)
    return (
      <Empty title="Nothing is written yet">
        mlops models card set {of.name} {of.version} --file card.yaml, or press Edit.
      </Empty>
    );
  return (
    <Stack gap="sm">
      {of.missing.length > 0 && (
        <Status of="missing" tone="warn">
          {of.missing.length} {of.missing.length === 1 ? "section" : "sections"} missing for a model of its
          risk
        </Status>
      )}
      {[...own, ...others].map((key) => (
        <div key={key}>
          <Title order={3}>{titleOf(key)}</Title>
          {said(of.card[key]) ? <Written of={of.card[key]} label={titleOf(key)} /> : <Missing />}
        </div>
      ))}
      <Text size="sm" c="dimmed" component="div">
        Revision {of.revision} by {of.written_by}, <When at={of.written_at} />
      </Text>
    </Stack>
  );
}

function Missing() {
  return (
    <Text size="sm" className="tone-warn">
      Not written yet; a model of this risk needs it.
    </Text>
  );
}

function Written({ of, label }: { of: unknown; label: string }) {
  if (typeof of === "string")
    return (
      <Text size="sm" style={{ whiteSpace: "pre-wrap" }}>
        {of}
      </Text>
    );
  if (Array.isArray(of) && of.every((item) => typeof item === "string"))
    return (
      <List size="sm">
        {of.map((item) => (
          <List.Item key={item}>{item}</List.Item>
        ))}
      </List>
    );
  if (typeof of === "number" || typeof of === "boolean") return <Text size="sm">{String(of)}</Text>;
  return <Json of={of} label={label} />;
}

function Export({ name, version, form }: { name: string; version: number; form: "markdown" | "html" }) {
  const suffix = form === "markdown" ? "md" : "html";
  return (
    <ActButton
      size="compact-xs"
      done={`Saved as ${name}-${version}.${suffix}`}
      act={async () => {
        const { data } = await api.GET("/api/v1/models/{name}/versions/{version}/card/export", {
          params: { path: { name, version }, query: { form } },
          parseAs: "text",
        });
        saved(String(data), `${name}-${version}.${suffix}`, `text/${form}`);
      }}
    >
      Save as {form === "markdown" ? "Markdown" : "HTML"}
    </ActButton>
  );
}
