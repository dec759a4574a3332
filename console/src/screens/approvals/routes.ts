import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { teamRoute } from "../../routing";

export const approvalRoutes = [
  createRoute({
    getParentRoute: () => teamRoute,
    path: "approvals",
    validateSearch: (search: Record<string, unknown>): { status?: string } =>
      typeof search.status === "string" ? { status: search.status } : {},
    component: lazyRouteComponent(() => import("./Approvals"), "Approvals"),
  }),
  createRoute({
    getParentRoute: () => teamRoute,
    path: "approvals/$approval",
    component: lazyRouteComponent(() => import("./Approval"), "Approval"),
  }),
] as const;
