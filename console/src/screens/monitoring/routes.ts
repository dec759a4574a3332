import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { teamRoute } from "../../routing";

export const monitoringRoutes = [
  createRoute({
    getParentRoute: () => teamRoute,
    path: "monitoring",
    component: lazyRouteComponent(() => import("./Monitoring"), "Monitoring"),
  }),
  createRoute({
    getParentRoute: () => teamRoute,
    path: "alerts/$alert",
    component: lazyRouteComponent(() => import("./Alert"), "Alert"),
  }),
] as const;
