import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { teamRoute } from "../../routing";

export const approvalRoutes = [
  createRoute({
    getParentRoute: () => teamRoute,
    path: "approvals",
    component: lazyRouteComponent(() => import("./Approvals"), "Approvals"),
  }),
  createRoute({
    getParentRoute: () => teamRoute,
    path: "approvals/$approval",
    component: lazyRouteComponent(() => import("./Approval"), "Approval"),
  }),
] as const;
