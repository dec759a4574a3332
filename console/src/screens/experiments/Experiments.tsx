/** The team's experiments. MLflow keeps them; its own screens are one link away. */

import { answer, api } from "../../api/client";
import { CALM } from "../../api/live";
import { usePages } from "../../api/pages";
import { Link, useTeam } from "../../parts/link";
import { MlflowLink } from "../../parts/mlflow";
import { Page, Panel } from "../../parts/page";
import { Empty } from "../../parts/states";
import { PagedTable } from "../../parts/table";
import { When } from "../../parts/when";

export function Experiments() {
  const team = useTeam();
  const pages = usePages(
    [team, "experiments"],
    (cursor) => answer(api.GET("/api/v1/experiments", { params: { query: { limit: 100, cursor } } })),
    CALM,
  );
  return (
    <Page title="Experiments" about="What was tried, newest first">
      <Panel flush>
        <PagedTable
          label="Experiments"
          pages={pages}
          id={(row) => row.experiment_id}
          empty={
            <Empty title="No experiment yet">
              mlops experiments create NAME makes one, and so does the first job: mlops jobs submit train.py
              --experiment NAME
            </Empty>
          }
          columns={[
            {
              name: "Experiment",
              cell: (row) => (
                <Link to="/$team/experiments/$experiment" params={{ team, experiment: row.experiment_id }}>
                  {row.name}
                </Link>
              ),
            },
            { name: "What it is for", cell: (row) => row.description ?? "" },
            { name: "Made", cell: (row) => <When at={row.created_at} /> },
            {
              name: "Elsewhere",
              cell: (row) => (
                <MlflowLink workspace={row.workspace} path={`/experiments/${row.experiment_id}/runs`}>
                  MLflow
                </MlflowLink>
              ),
            },
          ]}
        />
      </Panel>
    </Page>
  );
}
