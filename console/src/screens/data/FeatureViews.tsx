/** The team's feature views, and how fresh what is online of each. */

import { answer, api } from "../../api/client";
import { CALM } from "../../api/live";
import { usePages } from "../../api/pages";
import { number } from "../../parts/figures";
import { Link, useTeam } from "../../parts/link";
import { Page, Panel } from "../../parts/page";
import { Empty } from "../../parts/states";
import { PagedTable } from "../../parts/table";
import { Freshness } from "./Freshness";

export function FeatureViews() {
  const team = useTeam();
  const pages = usePages(
    [team, "features"],
    (cursor) => answer(api.GET("/api/v1/feature-views", { params: { query: { limit: 100, cursor } } })),
    CALM,
  );
  return (
    <Page title="Features" about="Defined once: online for predictions, point-in-time for training">
      <Panel flush>
        <PagedTable
          label="Feature views"
          pages={pages}
          id={(row) => row.name}
          empty={
            <Empty title="No feature view yet">mlops features create FILE defines one over a dataset.</Empty>
          }
          columns={[
            {
              name: "Feature view",
              cell: (row) => (
                <Link to="/$team/features/$view" params={{ team, view: row.name }}>
                  {row.name}
                </Link>
              ),
            },
            { name: "By", cell: (row) => row.entities.map((entity) => entity.name).join(", ") },
            { name: "Features", number: true, cell: (row) => number(row.features.length) },
            {
              name: "From",
              cell: (row) => (
                <Link
                  to="/$team/datasets/$name"
                  params={{ team, name: row.dataset }}
                  search={{ version: row.dataset_version }}
                >
                  {row.dataset}@{row.dataset_version}
                </Link>
              ),
            },
            { name: "Online", cell: (row) => <Freshness of={row} /> },
            { name: "Entities online", number: true, cell: (row) => number(row.online_entities) },
          ]}
        />
      </Panel>
    </Page>
  );
}
