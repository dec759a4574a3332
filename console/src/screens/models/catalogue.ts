/** A model of the registry with its line in the governance register: both lists are by name, and page alike. */

import { answer, api } from "../../api/client";
import type { PageOf } from "../../api/pages";
import type { Schemas } from "../../api/types";

export interface CatalogueLine {
  model: Schemas["Model"];
  /** Missing for the moment in which a model is registered between the two questions. */
  governed: Schemas["GovernedModel"] | undefined;
}

const PAGE = 100;

export async function cataloguePage(cursor: string | undefined): Promise<PageOf<CatalogueLine>> {
  const query = { params: { query: { limit: PAGE, cursor } } };
  const [models, governed] = await Promise.all([
    answer(api.GET("/api/v1/models", query)),
    answer(api.GET("/api/v1/governance/models", query)),
  ]);
  const lines = new Map(governed.items.map((line) => [line.model_name, line]));
  return {
    items: models.items.map((model) => ({ model, governed: lines.get(model.name) })),
    next_cursor: models.next_cursor,
  };
}

/** The newest endpoints of the team: enough to say where a model serves. */
export async function endpoints(): Promise<Schemas["Deployment"][]> {
  const { items } = await answer(api.GET("/api/v1/deployments", { params: { query: { limit: 500 } } }));
  return items.filter((each) => each.status !== "retired");
}
