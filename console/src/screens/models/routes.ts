import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { teamRoute } from "../../routing";

export const modelRoutes = [
  createRoute({
    getParentRoute: () => teamRoute,
    path: "models",
    component: lazyRouteComponent(() => import("./Models"), "Models"),
  }),
  createRoute({
    getParentRoute: () => teamRoute,
    path: "models/$name",
    component: lazyRouteComponent(() => import("./Model"), "Model"),
  }),
  createRoute({
    getParentRoute: () => teamRoute,
    path: "models/$name/$version",
    component: lazyRouteComponent(() => import("./Version"), "Version"),
  }),
  createRoute({
    getParentRoute: () => teamRoute,
    path: "lineage/$kind/$id",
    component: lazyRouteComponent(() => import("./Lineage"), "Lineage"),
  }),
] as const;
