/** The team's datasets. */

import { answer, api } from "../../api/client";
import { usePages } from "../../api/pages";
import { Link, useTeam } from "../../parts/link";
import { Page, Panel } from "../../parts/page";
import { Empty } from "../../parts/states";
import { PagedTable } from "../../parts/table";
import { When } from "../../parts/when";

export function Datasets() {
  const team = useTeam();
  const pages = usePages([team, "datasets"], (cursor) =>
    answer(api.GET("/api/v1/datasets", { params: { query: { limit: 100, cursor } } })),
  );
  return (
    <Page title="Datasets" about="Versioned tables; each version was checked against its schema">
      <Panel flush>
        <PagedTable
          label="Datasets"
          pages={pages}
          id={(row) => row.dataset_id}
          empty={
            <Empty title="No dataset yet">
              mlops datasets upload NAME FILE takes CSV, Parquet or JSON Lines.
            </Empty>
          }
          columns={[
            {
              name: "Dataset",
              cell: (row) => (
                <Link to="/$team/datasets/$name" params={{ team, name: row.name }}>
                  {row.name}
                </Link>
              ),
            },
            { name: "What it is", cell: (row) => row.description ?? "" },
            {
              name: "Newest",
              cell: (row) => (row.latest_version > 0 ? `version ${row.latest_version}` : "no version yet"),
            },
            { name: "By", cell: (row) => row.created_by },
            { name: "Made", cell: (row) => <When at={row.created_at} /> },
          ]}
        />
      </Panel>
    </Page>
  );
}
