import { answer, api } from "../../api/client";
import { CALM } from "../../api/live";
import { usePages } from "../../api/pages";
import { Link } from "../../parts/link";
import { Panel } from "../../parts/page";
import { Empty } from "../../parts/states";
import { Status } from "../../parts/status";
import { PagedTable } from "../../parts/table";
import { When } from "../../parts/when";

/** The retrainings that drift started, and where each of them is now. */
export function Retrainings({ team, id }: { team: string; id: string }) {
  const pages = usePages(
    [team, "deployments", id, "retrainings"],
    (cursor) =>
      answer(
        api.GET("/api/v1/deployments/{deployment_id}/retrainings", {
          params: { path: { deployment_id: id }, query: { limit: 50, cursor } },
        }),
      ),
    CALM,
  );
  return (
    <Panel title="Retraining" flush>
      <PagedTable
        label="Retrainings"
        pages={pages}
        id={(each) => each.retraining_id}
        empty={
          <Empty title="Nothing was retrained">
            Drift starts a retraining, at most once a day by default.
          </Empty>
        }
        columns={[
          { name: "State", cell: (each) => <Status of={each.status} /> },
          {
            name: "Job",
            cell: (each) =>
              each.job_id ? (
                <Link to="/$team/jobs/$job" params={{ team, job: each.job_id }}>
                  {each.model_id ?? "running"}
                </Link>
              ) : (
                "not started"
              ),
          },
          { name: "Because", cell: (each) => each.reason ?? each.requested_by },
          { name: "When", number: true, cell: (each) => <When at={each.created_at} /> },
        ]}
      />
    </Panel>
  );
}
