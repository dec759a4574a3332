/**
 * The platform's REST API, typed by its own OpenAPI. Every answer that is not a success is thrown as a
 * `ProblemError`, so that a query's `error` is always one.
 */

import createClient, { type Middleware } from "openapi-fetch";
import { sinceInput } from "./activity";
import { ProblemError, problemOf } from "./problem";
import type { paths } from "./schema";

let team: string | undefined;

/** The team that calls are made for, as the address of the page names it. */
export function actFor(name: string | undefined): void {
  team = name;
}

export function actsFor(name: string | undefined): boolean {
  return team === name;
}

const BACKGROUND_AFTER_MS = 30_000;

const middleware: Middleware = {
  onRequest({ request }) {
    if (team) request.headers.set("mlops-team", team);
    request.headers.set("x-mlops-csrf", "1");
    // What the page asks on its own does not keep a session alive that nobody uses.
    if (request.method === "GET" && sinceInput() > BACKGROUND_AFTER_MS)
      request.headers.set("x-mlops-background", "1");
    return request;
  },
  async onResponse({ response }) {
    if (response.status === 401) leave();
    if (!response.ok) throw await problemOf(response);
    return response;
  },
  onError({ error }) {
    return error instanceof ProblemError ? error : ProblemError.unreachable();
  },
};

const LEFT = "left-at";

/** The session is over: the gate says how to sign in, and nothing that was shown stays in memory. */
function leave(): void {
  const before = Number(sessionStorage.getItem(LEFT));
  if (Date.now() - before < 10_000) return; // whatever goes wrong, a page does not load itself for ever
  sessionStorage.setItem(LEFT, String(Date.now()));
  window.location.reload();
}

export const api = createClient<paths>({ baseUrl: "/", credentials: "same-origin" });
api.use(middleware);

/** The body of an answer; failures have been thrown before. */
export async function answer<T>(call: Promise<{ data?: T }>): Promise<T> {
  const { data } = await call;
  return data as T;
}
