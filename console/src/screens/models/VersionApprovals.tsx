import { useQuery } from "@tanstack/react-query";
import { answer, api } from "../../api/client";
import { Link } from "../../parts/link";
import { Panel } from "../../parts/page";
import { Empty, Loaded } from "../../parts/states";
import { Status } from "../../parts/status";
import { Table } from "../../parts/table";
import { When } from "../../parts/when";

/** The approvals of this version among the newest of the team. */
export function VersionApprovals({ team, name, version }: { team: string; name: string; version: number }) {
  const query = useQuery({
    queryKey: [team, "approvals", "newest"],
    queryFn: () => answer(api.GET("/api/v1/approvals", { params: { query: { limit: 500 } } })),
  });
  return (
    <Panel title="Approvals" flush>
      <Loaded query={query}>
        {({ items }) => (
          <Table
            label="Approvals"
            rows={items.filter((each) => each.model_name === name && each.model_version === version)}
            id={(approval) => approval.approval_id}
            empty={
              <Empty title="Nobody was asked yet">
                Deploying it to production asks those whom its risk demands.
              </Empty>
            }
            columns={[
              {
                name: "For",
                cell: (approval) => (
                  <Link to="/$team/approvals/$approval" params={{ team, approval: approval.approval_id }}>
                    {approval.environment}
                  </Link>
                ),
              },
              { name: "State", cell: (approval) => <Status of={approval.status} /> },
              { name: "Risk", cell: (approval) => `${approval.risk_level}, ${approval.risk_score}` },
              {
                name: "Votes",
                cell: (approval) =>
                  approval.automatic
                    ? "granted by the rule"
                    : approval.votes.map((vote) => `${vote.voter}: ${vote.verdict}`).join(", ") || "none",
              },
              { name: "Asked by", cell: (approval) => approval.requested_by },
              { name: "When", cell: (approval) => <When at={approval.created_at} /> },
            ]}
          />
        )}
      </Loaded>
    </Panel>
  );
}
