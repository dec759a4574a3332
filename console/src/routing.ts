/** The two routes that every screen stands below: the application, and a team. */

import type { QueryClient } from "@tanstack/react-query";
import {
  createRootRouteWithContext,
  createRoute,
  lazyRouteComponent,
  redirect,
} from "@tanstack/react-router";
import { actFor, actsFor } from "./api/client";
import { me } from "./api/me";

export const rootRoute = createRootRouteWithContext<{ client: QueryClient }>()({
  component: lazyRouteComponent(() => import("./shell/Root"), "Root"),
  errorComponent: lazyRouteComponent(() => import("./shell/Root"), "Broken"),
  notFoundComponent: lazyRouteComponent(() => import("./shell/Root"), "NotFound"),
});

/** The address without a team leads to one's own. */
export const startRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/",
  beforeLoad: async ({ context }) => {
    actFor(undefined);
    const { team } = await context.client.fetchQuery(me(""));
    throw redirect({ to: "/$team", params: { team }, replace: true });
  },
});

export const teamRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "$team",
  beforeLoad: async ({ context, params, preload }) => {
    if (preload && !actsFor(params.team)) return;
    // Another team is another page: what is still on its way for the one before must not meet this one's name.
    if (!actsFor(undefined) && !actsFor(params.team)) {
      window.location.reload();
      await new Promise(() => undefined);
    }
    actFor(params.team);
    await context.client.ensureQueryData(me(params.team));
  },
  component: lazyRouteComponent(() => import("./shell/Shell"), "Shell"),
});
