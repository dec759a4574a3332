import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { teamRoute } from "../../routing";

const FILTERS = ["action", "resource", "actor", "kind", "since", "until"] as const;
export type Filters = Partial<Record<(typeof FILTERS)[number], string>>;

export const auditRoutes = [
  createRoute({
    getParentRoute: () => teamRoute,
    path: "audit",
    // The search is the address, so that what an auditor found can be sent to somebody.
    validateSearch: (search: Record<string, unknown>): Filters =>
      Object.fromEntries(
        FILTERS.map((name) => [name, search[name]]).filter(([, value]) => typeof value === "string" && value),
      ),
    component: lazyRouteComponent(() => import("./Audit"), "Audit"),
  }),
] as const;
