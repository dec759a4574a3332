import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { teamRoute } from "../../routing";

export const monitoringRoutes = [
  createRoute({
    getParentRoute: () => teamRoute,
    path: "monitoring",
    validateSearch: (search: Record<string, unknown>): { deployment?: string } =>
      typeof search.deployment === "string" ? { deployment: search.deployment } : {},
    component: lazyRouteComponent(() => import("./Monitoring"), "Monitoring"),
  }),
  createRoute({
    getParentRoute: () => teamRoute,
    path: "alerts/$alert",
    component: lazyRouteComponent(() => import("./Alert"), "Alert"),
  }),
] as const;
