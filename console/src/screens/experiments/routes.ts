import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
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
    component: lazyRouteComponent(() => import("./Jobs"), "Jobs"),
  }),
  createRoute({
    getParentRoute: () => teamRoute,
    path: "jobs/$job",
    component: lazyRouteComponent(() => import("./Job"), "Job"),
  }),
] as const;
