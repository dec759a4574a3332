/** The command palette (Ctrl K): every place, and every model, deployment and experiment of the team by name. */

import { Spotlight, type SpotlightActionData } from "@mantine/spotlight";
import { IconCloudUp, IconCube, IconSearch } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { answer, api } from "../api/client";
import { PLACES } from "./places";

export function Commands({ team }: { team: string }) {
  const navigate = useNavigate();
  const [opened, setOpened] = useState(false);
  const things = useQuery({
    queryKey: [team, "palette"],
    queryFn: async () => {
      const query = { params: { query: { limit: 200 } } };
      const [models, deployments] = await Promise.all([
        answer(api.GET("/api/v1/models", query)),
        answer(api.GET("/api/v1/deployments", query)),
      ]);
      return { models: models.items, deployments: deployments.items };
    },
    enabled: opened,
    staleTime: 30_000,
  });
  const places: SpotlightActionData[] = PLACES.map(({ name, to, icon: Icon, about }) => ({
    id: name,
    label: name,
    description: about,
    leftSection: <Icon size={16} aria-hidden />,
    onClick: () => navigate({ to, params: { team } }),
  }));
  return (
    <Spotlight
      shortcut={["mod + K", "/"]}
      onSpotlightOpen={() => setOpened(true)}
      nothingFound="Nothing of that name in this team"
      limit={12}
      highlightQuery
      searchProps={{
        placeholder: "Where to?",
        leftSection: <IconSearch size={16} aria-hidden />,
        "aria-label": "Where to?",
      }}
      actions={[
        { group: "Places", actions: places },
        {
          group: "Models",
          actions: (things.data?.models ?? []).map(({ name }) => ({
            id: `model ${name}`,
            label: name,
            description: "Registered model",
            leftSection: <IconCube size={16} aria-hidden />,
            onClick: () => navigate({ to: "/$team/models/$name", params: { team, name } }),
          })),
        },
        {
          group: "Deployments",
          actions: (things.data?.deployments ?? []).map(
            ({ deployment_id: deployment, environment, name }) => ({
              id: deployment,
              label: `${environment}/${name}`,
              description: "Deployment",
              leftSection: <IconCloudUp size={16} aria-hidden />,
              onClick: () => navigate({ to: "/$team/deployments/$deployment", params: { team, deployment } }),
            }),
          ),
        },
      ]}
    />
  );
}
