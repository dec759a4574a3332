/** The command palette (Ctrl K): every place, and every model, deployment and experiment of the team by name. */

import { Spotlight, type SpotlightActionGroupData } from "@mantine/spotlight";
import { IconCloudUp, IconCube, IconFlask, IconSearch } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { answer, api } from "../api/client";
import { PLACES } from "./places";

const query = { params: { query: { limit: 500 } } };

async function things() {
  const [models, deployments, experiments] = await Promise.all([
    answer(api.GET("/api/v1/models", query)),
    answer(api.GET("/api/v1/deployments", query)),
    answer(api.GET("/api/v1/experiments", query)),
  ]);
  return {
    models: models.items,
    deployments: deployments.items.filter((each) => each.status !== "retired"),
    experiments: experiments.items,
  };
}

export function Commands({ team }: { team: string }) {
  const [opened, setOpened] = useState(false);
  const places = usePlaces(team);
  const named = useNamed(team, opened);
  return (
    <Spotlight
      shortcut={["mod + K", "/"]}
      onSpotlightOpen={() => setOpened(true)}
      nothingFound="Nothing of that name in this team"
      limit={12}
      highlightQuery
      scrollable
      maxHeight={420}
      searchProps={{
        placeholder: "Where to?",
        leftSection: <IconSearch size={16} aria-hidden />,
        "aria-label": "Where to?",
      }}
      actions={[places, ...named]}
    />
  );
}

function usePlaces(team: string): SpotlightActionGroupData {
  const navigate = useNavigate();
  return {
    group: "Places",
    actions: PLACES.map(({ name, to, icon: Icon, about }) => ({
      id: `place ${name}`,
      label: name,
      description: about,
      leftSection: <Icon size={16} aria-hidden />,
      onClick: () => navigate({ to: to as "/$team", params: { team } }),
    })),
  };
}

function useNamed(team: string, opened: boolean): SpotlightActionGroupData[] {
  const navigate = useNavigate();
  const { data } = useQuery({
    queryKey: [team, "palette"],
    queryFn: things,
    enabled: opened,
    staleTime: 30_000,
  });
  if (!data) return [];
  return [
    {
      group: "Models",
      actions: data.models.map(({ name, latest_version }) => ({
        id: `model ${name}`,
        label: name,
        description: latest_version > 0 ? `Model, newest version ${latest_version}` : "Model",
        leftSection: <IconCube size={16} aria-hidden />,
        onClick: () => navigate({ to: "/$team/models/$name", params: { team, name } }),
      })),
    },
    {
      group: "Deployments",
      actions: data.deployments.map(({ deployment_id: deployment, environment, name, serving_model_id }) => ({
        id: `deployment ${deployment}`,
        label: `${environment}/${name}`,
        description: serving_model_id ? `Endpoint, serves ${serving_model_id}` : "Endpoint",
        leftSection: <IconCloudUp size={16} aria-hidden />,
        onClick: () => navigate({ to: "/$team/deployments/$deployment", params: { team, deployment } }),
      })),
    },
    {
      group: "Experiments",
      actions: data.experiments.map(({ experiment_id: experiment, name, description }) => ({
        id: `experiment ${experiment}`,
        label: name,
        description: description ?? "Experiment",
        leftSection: <IconFlask size={16} aria-hidden />,
        onClick: () => navigate({ to: "/$team/experiments/$experiment", params: { team, experiment } }),
      })),
    },
  ];
}
