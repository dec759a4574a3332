import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { teamRoute } from "../../routing";

export const auditRoutes = [
  createRoute({
    getParentRoute: () => teamRoute,
    path: "audit",
    component: lazyRouteComponent(() => import("./Audit"), "Audit"),
  }),
] as const;
