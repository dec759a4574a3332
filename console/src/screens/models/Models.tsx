/** The catalogue: whose each model is, how risky, whether it was looked at in time, and where it serves. */

import { Group, TextInput } from "@mantine/core";
import { IconSearch } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { CALM } from "../../api/live";
import { usePages } from "../../api/pages";
import type { Schemas } from "../../api/types";
import { Link, useTeam } from "../../parts/link";
import { Page, Panel } from "../../parts/page";
import { Empty } from "../../parts/states";
import { Status } from "../../parts/status";
import { PagedTable } from "../../parts/table";
import { When } from "../../parts/when";
import { type CatalogueLine, cataloguePage, endpoints } from "./catalogue";
import { versionOf } from "./names";
import { Review } from "./Review";

export function Models() {
  const team = useTeam();
  const [wanted, setWanted] = useState("");
  const pages = usePages([team, "catalogue"], cataloguePage, CALM);
  const serving = useQuery({
    queryKey: [team, "deployments", "serving"],
    queryFn: endpoints,
    refetchInterval: CALM,
  });
  const where = useMemo(() => byModel(serving.data ?? []), [serving.data]);
  const text = wanted.trim().toLowerCase();
  const shown = useMemo(
    () => (text ? pages.rows?.filter((line) => matches(line, text)) : pages.rows),
    [pages.rows, text],
  );
  return (
    <Page title="Models" about="Every registered model of the team, by name">
      <Group>
        <TextInput
          aria-label="Filter by name, owner or risk"
          placeholder="Name, owner or risk"
          leftSection={<IconSearch size={14} aria-hidden />}
          size="xs"
          w={260}
          value={wanted}
          onChange={(event) => setWanted(event.currentTarget.value)}
        />
      </Group>
      <Panel flush>
        <PagedTable
          label="Models"
          pages={{ ...pages, rows: shown }}
          id={({ model }) => model.name}
          empty={text ? <Empty title={`No model matches “${wanted.trim()}”`} /> : <NoModels />}
          columns={[
            {
              name: "Model",
              cell: ({ model }) => (
                <Link to="/$team/models/$name" params={{ team, name: model.name }}>
                  {model.name}
                </Link>
              ),
            },
            { name: "Owner", cell: ({ model, governed }) => governed?.owner ?? model.created_by },
            { name: "Risk", cell: ({ governed }) => <Risk of={governed} /> },
            { name: "Review", cell: ({ governed }) => <Review of={governed} /> },
            {
              name: "Newest",
              cell: ({ model }) => (
                <Link
                  to="/$team/models/$name/$version"
                  params={{ team, name: model.name, version: String(model.latest_version) }}
                >
                  version&nbsp;{model.latest_version}
                </Link>
              ),
            },
            { name: "Serves", cell: ({ model }) => <Serves team={team} at={where.get(model.name)} /> },
            { name: "Made", cell: ({ model }) => <When at={model.created_at} /> },
          ]}
        />
      </Panel>
    </Page>
  );
}

function matches({ model, governed }: CatalogueLine, text: string): boolean {
  return [model.name, governed?.owner, governed?.risk_level].some((each) =>
    each?.toLowerCase().includes(text),
  );
}

function byModel(deployments: Schemas["Deployment"][]): Map<string, Schemas["Deployment"][]> {
  const found = new Map<string, Schemas["Deployment"][]>();
  for (const deployment of deployments) {
    if (!deployment.serving_model_id) continue;
    const { name } = versionOf(deployment.serving_model_id);
    found.set(name, [...(found.get(name) ?? []), deployment]);
  }
  return found;
}

export function Risk({ of }: { of: Schemas["GovernedModel"] | undefined }) {
  if (!of?.risk_level) return <Status of="not answered" tone="quiet" />;
  return (
    <Status of={of.risk_level}>
      {of.risk_level}, {of.risk_score}
    </Status>
  );
}

function Serves({ team, at }: { team: string; at: Schemas["Deployment"][] | undefined }) {
  if (!at) return <>nowhere</>;
  return (
    <>
      {at.map((each) => (
        <div key={each.deployment_id}>
          <Link to="/$team/deployments/$deployment" params={{ team, deployment: each.deployment_id }}>
            {each.environment}/{each.name}
          </Link>
          : version {versionOf(each.serving_model_id ?? "").version}
        </div>
      ))}
    </>
  );
}

function NoModels() {
  return (
    <Empty title="No model is registered yet">
      Train one as a job: mlops jobs submit train.py --experiment NAME --register-as NAME. Or register what a
      run logged: mlops models register NAME --run-id RUN
    </Empty>
  );
}
