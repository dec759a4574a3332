import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { teamRoute } from "../../routing";

export const dataRoutes = [
  createRoute({
    getParentRoute: () => teamRoute,
    path: "datasets",
    component: lazyRouteComponent(() => import("./Datasets"), "Datasets"),
  }),
  createRoute({
    getParentRoute: () => teamRoute,
    path: "datasets/$name",
    validateSearch: (search: Record<string, unknown>): { version?: number } => {
      const version = Number(search.version);
      return Number.isInteger(version) && version > 0 ? { version } : {};
    },
    component: lazyRouteComponent(() => import("./Dataset"), "Dataset"),
  }),
  createRoute({
    getParentRoute: () => teamRoute,
    path: "features",
    component: lazyRouteComponent(() => import("./FeatureViews"), "FeatureViews"),
  }),
  createRoute({
    getParentRoute: () => teamRoute,
    path: "features/$view",
    component: lazyRouteComponent(() => import("./FeatureView"), "FeatureView"),
  }),
] as const;
