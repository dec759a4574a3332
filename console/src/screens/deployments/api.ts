/** Queries about deployments and rollouts, the same wherever they are asked. */

import { queryOptions } from "@tanstack/react-query";
import { answer, api } from "../../api/client";
import { CALM, LIVE } from "../../api/live";
import type { Schemas } from "../../api/types";

export type Deployment = Schemas["Deployment"];
export type Metrics = Schemas["DeploymentMetrics"];
export type Traffic = Schemas["RevisionTraffic"];

const UNDER_WAY = new Set(["running", "pending_approval", "canary"]);

/** Whether a rollout of this status is not over yet. */
export function moves(status: string | null | undefined): boolean {
  return UNDER_WAY.has(status ?? "");
}

export const deployment = (team: string, id: string) =>
  queryOptions({
    queryKey: [team, "deployments", id],
    queryFn: () =>
      answer(api.GET("/api/v1/deployments/{deployment_id}", { params: { path: { deployment_id: id } } })),
    refetchInterval: ({ state }) => (moves(state.data?.rollout_status) ? LIVE : CALM),
  });

export const rollout = (team: string, id: string) =>
  queryOptions({
    queryKey: [team, "rollouts", id],
    queryFn: () => answer(api.GET("/api/v1/rollouts/{rollout_id}", { params: { path: { rollout_id: id } } })),
    refetchInterval: ({ state }) => (moves(state.data?.status) ? LIVE : false),
  });

export const metrics = (team: string, id: string, window: string, every = CALM) =>
  queryOptions({
    queryKey: [team, "deployments", id, "metrics", window],
    queryFn: () =>
      answer(
        api.GET("/api/v1/deployments/{deployment_id}/metrics", {
          params: { path: { deployment_id: id }, query: { window } },
        }),
      ),
    refetchInterval: every,
  });

export const version = (team: string, name: string, number: number) =>
  queryOptions({
    queryKey: [team, "models", name, number],
    queryFn: () =>
      answer(
        api.GET("/api/v1/models/{name}/versions/{version}", { params: { path: { name, version: number } } }),
      ),
    staleTime: 60_000,
  });

/** `churn/2` as its name and its number. */
export function partsOf(modelId: string): { name: string; number: number } | null {
  const [name, number] = modelId.split("/");
  return name && number && /^\d+$/.test(number) ? { name, number: Number(number) } : null;
}

/** What somebody needs who changes what serves in an environment. */
export function changing(environment: string): "deploy_production" | "deploy_staging" {
  return environment === "production" ? "deploy_production" : "deploy_staging";
}
