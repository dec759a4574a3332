import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import type { Schemas } from "../../api/types";
import { teamRoute } from "../../routing";

export const experimentRoutes = [
  createRoute({
    getParentRoute: () => teamRoute,
    path: "experiments",
    component: lazyRouteComponent(() => import("./Experiments"), "Experiments"),
  }),
  createRoute({
    getParentRoute: () => teamRoute,
    path: "experiments/$experiment",
    component: lazyRouteComponent(() => import("./Experiment"), "Experiment"),
  }),
  createRoute({
    getParentRoute: () => teamRoute,
    path: "jobs",
    // What the list is narrowed to, so that a link leads there.
    validateSearch: (
      search: Record<string, unknown>,
    ): { status?: Schemas["JobStatus"]; experiment?: string } => ({
      ...(typeof search.status === "string" ? { status: search.status as Schemas["JobStatus"] } : {}),
      // An address that looks like a number is read as one; experiments' ids do.
      ...(typeof search.experiment === "string" || typeof search.experiment === "number"
        ? { experiment: String(search.experiment) }
        : {}),
    }),
    component: lazyRouteComponent(() => import("./Jobs"), "Jobs"),
  }),
  createRoute({
    getParentRoute: () => teamRoute,
    path: "jobs/$job",
    component: lazyRouteComponent(() => import("./Job"), "Job"),
  }),
] as const;
