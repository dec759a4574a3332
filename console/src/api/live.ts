/** How often a screen asks again. Pages in the background do not ask at all. */

import { QueryClient } from "@tanstack/react-query";
import { ProblemError } from "./problem";

/** For what moves while somebody watches it: a rollout, a running job. */
export const LIVE = 2_000;
/** For overviews. */
export const CALM = 15_000;

const FOR_GOOD = new Set([400, 401, 403, 404, 409, 410, 422]);

export function newQueryClient(): QueryClient {
  return new QueryClient({
    defaultOptions: {
      queries: {
        staleTime: 5_000,
        gcTime: 10 * 60_000,
        refetchOnWindowFocus: true,
        retry: (failures, error) =>
          failures < 2 && !(error instanceof ProblemError && FOR_GOOD.has(error.status)),
      },
    },
  });
}
