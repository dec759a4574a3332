import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { teamRoute } from "../../routing";

export const settingsRoutes = [
  createRoute({
    getParentRoute: () => teamRoute,
    path: "settings",
    component: lazyRouteComponent(() => import("./Settings"), "Settings"),
  }),
] as const;
