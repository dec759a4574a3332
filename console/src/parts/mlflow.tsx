/** Links into MLflow's own screens, in the workspace of the page's team; the session of this page opens them. */

import { Anchor } from "@mantine/core";
import { IconExternalLink } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { answer, api } from "../api/client";

/** The name of the team's workspace stands with each of its experiments. */
export function useWorkspace(team: string, experiment: string): string | undefined {
  const { data } = useQuery({
    queryKey: [team, "experiments", experiment],
    queryFn: () => answer(api.GET("/api/v1/experiments/{experiment}", { params: { path: { experiment } } })),
    staleTime: 60_000,
  });
  return data?.workspace;
}

/** MLflow reads the workspace from both parts of the address: on opening, and when it moves on. */
export function mlflowAddress(workspace: string, path: string): string {
  const search = `?workspace=${encodeURIComponent(workspace)}`;
  return `/mlflow/${search}#${path}${search}`;
}

export function MlflowLink({
  workspace,
  path,
  children,
}: {
  workspace: string;
  path: string;
  children: React.ReactNode;
}) {
  return (
    <Anchor
      href={mlflowAddress(workspace, path)}
      target="_blank"
      rel="noreferrer"
      inherit
      style={{ whiteSpace: "nowrap" }}
    >
      {children} <IconExternalLink size={12} role="img" aria-label="opens in a new tab" />
    </Anchor>
  );
}

interface RunOf {
  team: string;
  experiment: string;
  run: string;
  children?: React.ReactNode;
}

export function RunLink({ team, experiment, run, children }: RunOf) {
  const workspace = useWorkspace(team, experiment);
  if (!workspace) return <>{run}</>;
  return (
    <MlflowLink workspace={workspace} path={`/experiments/${experiment}/runs/${run}`}>
      {children ?? `${run.slice(0, 8)} in MLflow`}
    </MlflowLink>
  );
}
