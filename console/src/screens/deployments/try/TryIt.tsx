/** A prediction to try: a form made from the signature of what serves, the answer, and the same as code. */

import { Button, Checkbox, Group, SegmentedControl, SimpleGrid, Stack, Text, Textarea } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { answer, api } from "../../../api/client";
import { useMay } from "../../../api/me";
import { ProblemError } from "../../../api/problem";
import type { Schemas } from "../../../api/types";
import { More } from "../../../parts/more";
import { Panel } from "../../../parts/page";
import { Empty, Failed, Loaded } from "../../../parts/states";
import { bag } from "../../../parts/unknown";
import { type Deployment, partsOf, version } from "../api";
import { Answer } from "./Answer";
import { CallIt } from "./CallIt";
import { Fields } from "./Fields";
import { type Field, fieldsOf, instanceOf, paramsOf, rowOf, type Typed } from "./signature";
import { useTypical } from "./typical";

type Version = Schemas["ModelVersion"];
type View = Schemas["FeatureView"];

export function TryIt({ team, found }: { team: string; found: Deployment }) {
  const serving = partsOf(found.serving_model_id ?? "");
  if (serving === null)
    return (
      <Panel>
        <Empty title="Nothing serves here yet">
          A prediction can be tried as soon as a rollout has passed.
        </Empty>
      </Panel>
    );
  return (
    <OfVersion
      key={found.serving_model_id}
      team={team}
      found={found}
      name={serving.name}
      number={serving.number}
    />
  );
}

function OfVersion({
  team,
  found,
  name,
  number,
}: {
  team: string;
  found: Deployment;
  name: string;
  number: number;
}) {
  const query = useQuery(version(team, name, number));
  const view = query.data?.feature_view ?? null;
  const features = useQuery({
    queryKey: [team, "features", view],
    queryFn: () =>
      answer(api.GET("/api/v1/feature-views/{name}", { params: { path: { name: view ?? "" } } })),
    enabled: view !== null,
    staleTime: 60_000,
  });
  return (
    <Loaded query={query}>
      {(of) =>
        view === null || features.data || features.error ? (
          <Form team={team} found={found} version={of} view={features.data} />
        ) : (
          <Loaded query={features}>{() => null}</Loaded>
        )
      }
    </Loaded>
  );
}

function Form({
  team,
  found,
  version: of,
  view,
}: {
  team: string;
  found: Deployment;
  version: Version;
  view: View | undefined;
}) {
  const signature = bag(of.signature);
  const fields = fieldsOf(signature, view);
  const params = paramsOf(signature);
  const typical = useTypical(team, of, view);
  const [typed, setTyped] = useState<Typed>({});
  const [given, setGiven] = useState<Typed>({});
  const [json, setJson] = useState<string | null>(null);
  const [explain, setExplain] = useState(true);
  const filled = { ...first(fields, typical.of), ...typed };
  const { row, missing } = rowOf(fields, filled);
  const parsed = json === null ? { instances: [instanceOf(signature, row)] } : parse(json);
  const ask = useMutation({
    mutationFn: () =>
      answer(
        api.POST("/api/v1/deployments/{deployment_id}/predict", {
          params: { path: { deployment_id: found.deployment_id } },
          body: { instances: parsed.instances ?? [], explain, ...parameters(params, given) },
        }),
      ),
  });
  const may = useMay("predict");
  const lacking = json === null ? missing : [];
  return (
    <SimpleGrid cols={{ base: 1, lg: 2 }} spacing="md">
      <Panel
        title="A request"
        actions={
          <SegmentedControl
            size="xs"
            aria-label="How the request is written"
            data={["Form", "JSON"]}
            value={json === null ? "Form" : "JSON"}
            onChange={(mode) =>
              setJson(mode === "Form" ? null : JSON.stringify(parsed.instances ?? [], null, 2))
            }
          />
        }
      >
        <form
          onSubmit={(event) => {
            event.preventDefault();
            if (may && lacking.length === 0 && parsed.instances) ask.mutate();
          }}
        >
          <Stack gap="sm">
            {json === null ? (
              <Columns
                fields={fields}
                typed={filled}
                set={(name, value) => setTyped({ ...typed, [name]: value })}
                typical={typical}
                wrong={wrongOf(ask.error)}
              />
            ) : (
              <Textarea
                label="Instances"
                description="A list of rows, of objects by column name, or of entity keys."
                autosize
                minRows={8}
                maxRows={24}
                value={json}
                error={parsed.wrong}
                onChange={(event) => setJson(event.currentTarget.value)}
                styles={{ input: { fontFamily: "var(--mantine-font-family-monospace)" } }}
              />
            )}
            {params.length > 0 && (
              <More label="Parameters of the model" open>
                <Fields
                  fields={params}
                  typed={given}
                  set={(name, value) => setGiven({ ...given, [name]: value })}
                  wrong={{}}
                />
              </More>
            )}
            <Group gap="md">
              <Button
                type="submit"
                size="sm"
                loading={ask.isPending}
                disabled={!may || lacking.length > 0 || !parsed.instances}
              >
                Predict
              </Button>
              <Checkbox
                label="and explain it"
                checked={explain}
                onChange={(event) => setExplain(event.currentTarget.checked)}
              />
            </Group>
            <Text size="xs" c="dimmed">
              {may
                ? lacking.length > 0
                  ? `Still to be filled in: ${lacking.join(", ")}.`
                  : "A real request: the traffic split chooses the revision, and it is counted and logged like any other."
                : "You need the permission predict. A team lead can give it."}
            </Text>
          </Stack>
        </form>
      </Panel>
      <Stack gap="md">
        <Panel title="The answer">
          {ask.error ? (
            <Failed error={ask.error} />
          ) : ask.data ? (
            <Answer team={team} of={ask.data} />
          ) : (
            <Empty title="Nothing was asked yet">
              Press Predict, and the endpoint's answer stands here with its reasons.
            </Empty>
          )}
        </Panel>
        <CallIt of={found} instances={parsed.instances ?? []} />
      </Stack>
    </SimpleGrid>
  );
}

/** What must be given, and below it what the feature store knows. */
function Columns({
  fields,
  typed,
  set,
  typical,
  wrong,
}: {
  fields: readonly Field[];
  typed: Typed;
  set: (name: string, value: string) => void;
  typical: ReturnType<typeof useTypical>;
  wrong: Record<string, string>;
}) {
  const asked = fields.filter((field) => !field.lookedUp);
  const lookedUp = fields.filter((field) => field.lookedUp);
  return (
    <Stack gap="xs">
      {typical.of.size > 0 && (
        <Text size="xs" c="dimmed">
          Filled with typical values of {typical.from.join(", ")}.
        </Text>
      )}
      <Fields fields={asked} typed={typed} set={set} typical={typical.of} wrong={wrong} />
      {lookedUp.length > 0 && (
        <More
          label={`${lookedUp.length} columns are looked up in the feature store; give some of them yourself`}
        >
          <Fields fields={lookedUp} typed={typed} set={set} typical={typical.of} wrong={wrong} />
        </More>
      )}
    </Stack>
  );
}

/** What stands in the fields before anybody types: what is looked up stays empty. */
function first(fields: readonly Field[], typical: ReturnType<typeof useTypical>["of"]): Typed {
  return Object.fromEntries(
    fields.filter((field) => !field.lookedUp).map(({ name }) => [name, typical.get(name)?.value ?? ""]),
  );
}

function parse(json: string): { instances?: unknown[]; wrong?: string } {
  try {
    const found: unknown = JSON.parse(json);
    return Array.isArray(found) ? { instances: found } : { wrong: "It must be a list: [ ... ]" };
  } catch (error) {
    return { wrong: String(error instanceof Error ? error.message : error) };
  }
}

function parameters(params: readonly Field[], typed: Typed): { parameters?: Record<string, unknown> } {
  const { row } = rowOf(params, typed);
  return Object.keys(row).length > 0 ? { parameters: row } : {};
}

/** A refusal names its place as `instances[0].tenure`. */
function wrongOf(error: unknown): Record<string, string> {
  const fields = error instanceof ProblemError ? error.fields : [];
  return Object.fromEntries(
    fields.map(({ field, message }) => [field.replace(/^instances\[\d+\]\.?/, ""), message]),
  );
}
