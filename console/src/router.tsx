/** Every address of the console. Each screen is a bundle of its own, fetched when it is first wanted. */

import type { QueryClient } from "@tanstack/react-query";
import { createRouter } from "@tanstack/react-router";
import { Loading } from "./parts/states";
import { rootRoute, startRoute, teamRoute } from "./routing";
import { approvalRoutes } from "./screens/approvals/routes";
import { auditRoutes } from "./screens/audit/routes";
import { dataRoutes } from "./screens/data/routes";
import { deploymentRoutes } from "./screens/deployments/routes";
import { experimentRoutes } from "./screens/experiments/routes";
import { homeRoutes } from "./screens/home/routes";
import { modelRoutes } from "./screens/models/routes";
import { monitoringRoutes } from "./screens/monitoring/routes";
import { settingsRoutes } from "./screens/settings/routes";

const tree = rootRoute.addChildren([
  startRoute,
  teamRoute.addChildren([
    ...homeRoutes,
    ...modelRoutes,
    ...deploymentRoutes,
    ...approvalRoutes,
    ...monitoringRoutes,
    ...experimentRoutes,
    ...dataRoutes,
    ...auditRoutes,
    ...settingsRoutes,
  ]),
]);

export function createConsoleRouter(client: QueryClient) {
  return createRouter({
    routeTree: tree,
    basepath: "/console",
    context: { client },
    defaultRemountDeps: ({ params }) => params, // what was typed about one thing is not about the next
    defaultPreload: "intent",
    defaultPreloadStaleTime: 0, // the queries know themselves what is stale
    defaultPendingComponent: () => <Loading lines={6} />,
    defaultPendingMs: 150,
    scrollRestoration: true,
  });
}

declare module "@tanstack/react-router" {
  interface Register {
    router: ReturnType<typeof createConsoleRouter>;
  }
}
