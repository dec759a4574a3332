import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { teamRoute } from "../../routing";

export const homeRoutes = [
  createRoute({
    getParentRoute: () => teamRoute,
    path: "/",
    component: lazyRouteComponent(() => import("./Home"), "Home"),
  }),
] as const;
