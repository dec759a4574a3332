/** Whether the live data still look like those that the models were made from, and what was raised about it. */

import { Select, SimpleGrid, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { answer, api } from "../../api/client";
import { CALM } from "../../api/live";
import { Link, useTeam } from "../../parts/link";
import { Page, Panel } from "../../parts/page";
import { Empty, Loaded } from "../../parts/states";
import { Alerts } from "./Alerts";
import { Drift } from "./Drift";
import { Quality } from "./Quality";
import { Retrainings } from "./Retrainings";

export function Monitoring() {
  const team = useTeam();
  const query = useQuery({
    queryKey: [team, "deployments", "list", 200],
    queryFn: () => answer(api.GET("/api/v1/deployments", { params: { query: { limit: 200 } } })),
    refetchInterval: CALM,
  });
  return (
    <Page
      title="Monitoring"
      about="Drift, data quality and live quality by endpoint; alerts and what followed from them."
    >
      <Alerts team={team} />
      <Loaded query={query}>
        {({ items }) => {
          const live = items.filter((each) => each.status !== "retired");
          return live.length === 0 ? (
            <Panel>
              <Empty title="Nothing is deployed, so nothing is watched">
                What you deploy is watched from its first prediction.
              </Empty>
            </Panel>
          ) : (
            <OfDeployment
              team={team}
              choices={live.map((each) => [each.deployment_id, `${each.environment}/${each.name}`])}
            />
          );
        }}
      </Loaded>
    </Page>
  );
}

function OfDeployment({ team, choices }: { team: string; choices: [id: string, name: string][] }) {
  const navigate = useNavigate();
  const { deployment: asked } = useSearch({ strict: false }) as { deployment?: string };
  const production = choices.find(([, name]) => name.startsWith("production/"));
  const id = choices.find(([each]) => each === asked)?.[0] ?? production?.[0] ?? choices[0]?.[0] ?? "";
  return (
    <Stack gap="md">
      <Select
        label="Endpoint"
        maw={360}
        data={choices.map(([value, label]) => ({ value, label }))}
        value={id}
        allowDeselect={false}
        searchable={choices.length > 8}
        onChange={(value) =>
          value &&
          navigate({
            to: "/$team/monitoring",
            params: { team },
            search: { deployment: value },
            replace: true,
          })
        }
      />
      <Drift team={team} id={id} key={id} />
      <SimpleGrid cols={{ base: 1, lg: 2 }} spacing="md">
        <Quality team={team} id={id} />
        <Retrainings team={team} id={id} />
      </SimpleGrid>
      <Text size="sm">
        <Link to="/$team/deployments/$deployment" params={{ team, deployment: id }}>
          Traffic and revisions of this endpoint
        </Link>
      </Text>
    </Stack>
  );
}
