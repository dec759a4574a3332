/** Everything that was ever rolled out to the endpoint. */

import { answer, api } from "../../api/client";
import { CALM } from "../../api/live";
import { usePages } from "../../api/pages";
import type { Schemas } from "../../api/types";
import { span } from "../../parts/figures";
import { Link } from "../../parts/link";
import { Panel } from "../../parts/page";
import { Empty } from "../../parts/states";
import { Status } from "../../parts/status";
import { PagedTable } from "../../parts/table";
import { When } from "../../parts/when";

export function Rollouts({ team, id }: { team: string; id: string }) {
  const pages = usePages<Schemas["Rollout"]>(
    [team, "deployments", id, "rollouts"],
    (cursor) =>
      answer(
        api.GET("/api/v1/deployments/{deployment_id}/rollouts", {
          params: { path: { deployment_id: id }, query: { limit: 100, cursor } },
        }),
      ),
    CALM,
  );
  return (
    <Panel title="Rollouts" flush>
      <PagedTable
        pages={pages}
        label="Rollouts"
        id={(each) => each.rollout_id}
        empty={<Empty title="Nothing was rolled out here yet" />}
        columns={[
          {
            name: "Version",
            cell: (each) => (
              <Link to="/$team/rollouts/$rollout" params={{ team, rollout: each.rollout_id }}>
                {each.model_name}/{each.model_version}
              </Link>
            ),
          },
          { name: "State", cell: (each) => <Status of={each.status} /> },
          { name: "For", cell: (each) => each.purpose ?? "traffic" },
          { name: "Asked for by", cell: (each) => each.requested_by },
          { name: "Began", cell: (each) => <When at={each.created_at} /> },
          { name: "Took", cell: (each) => span(each.created_at, each.finished_at) },
          { name: "Why it ended", cell: (each) => each.reason ?? "–" },
        ]}
      />
    </Panel>
  );
}
