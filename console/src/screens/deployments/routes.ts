import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { teamRoute } from "../../routing";

export const deploymentRoutes = [
  createRoute({
    getParentRoute: () => teamRoute,
    path: "deployments",
    component: lazyRouteComponent(() => import("./Deployments"), "Deployments"),
  }),
  createRoute({
    getParentRoute: () => teamRoute,
    path: "deployments/$deployment",
    // Which part of the page is open, so that a link leads there.
    validateSearch: (search: Record<string, unknown>): { tab?: string } =>
      typeof search.tab === "string" ? { tab: search.tab } : {},
    component: lazyRouteComponent(() => import("./Deployment"), "Deployment"),
  }),
  createRoute({
    getParentRoute: () => teamRoute,
    path: "rollouts/$rollout",
    component: lazyRouteComponent(() => import("./Rollout"), "Rollout"),
  }),
] as const;
