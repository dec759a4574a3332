/** What waits for a decision, and what was decided. */

import { Select } from "@mantine/core";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { answer, api } from "../../api/client";
import { CALM } from "../../api/live";
import { usePages } from "../../api/pages";
import type { Schemas } from "../../api/types";
import { Link, useTeam } from "../../parts/link";
import { Page, Panel } from "../../parts/page";
import { Empty } from "../../parts/states";
import { Status } from "../../parts/status";
import { PagedTable } from "../../parts/table";
import { words } from "../../parts/unknown";
import { When } from "../../parts/when";
import { filled } from "./seats";

type Approval = Schemas["Approval"];

const STATUSES = ["pending", "approved", "rejected", "lapsed", "void", "cancelled"];
const ALL = "all";

export function Approvals() {
  const team = useTeam();
  const navigate = useNavigate();
  const { status: asked } = useSearch({ strict: false }) as { status?: string };
  const status = STATUSES.includes(asked ?? "") ? (asked as Schemas["ApprovalStatus"]) : undefined;
  const pages = usePages<Approval>(
    [team, "approvals", "list", status ?? ALL],
    (cursor) => answer(api.GET("/api/v1/approvals", { params: { query: { limit: 100, cursor, status } } })),
    CALM,
  );
  return (
    <Page
      title="Approvals"
      about="Deployments to production that people decide about, by the risk of the model."
      actions={
        <Select
          size="xs"
          w={170}
          aria-label="Status"
          data={[ALL, ...STATUSES]}
          value={status ?? ALL}
          allowDeselect={false}
          onChange={(chosen) =>
            navigate({
              to: "/$team/approvals",
              params: { team },
              search: chosen && chosen !== ALL ? { status: chosen } : {},
              replace: true,
            })
          }
        />
      }
    >
      <Panel flush>
        <PagedTable
          pages={pages}
          label="Approvals"
          id={(each) => each.approval_id}
          empty={
            <Empty title={status === "pending" ? "Nothing waits for a decision" : "Nothing here yet"}>
              A deployment to production asks for an approval by itself: mlops deploy --model NAME
              --environment production
            </Empty>
          }
          columns={[
            {
              name: "What",
              cell: (each) => (
                <Link to="/$team/approvals/$approval" params={{ team, approval: each.approval_id }}>
                  {each.model_name}/{each.model_version} to {each.environment}
                </Link>
              ),
            },
            { name: "State", cell: (each) => <State of={each} /> },
            {
              name: "Risk",
              cell: (each) => (
                <Status of={each.risk_level}>{`${each.risk_level}, ${each.risk_score}`}</Status>
              ),
            },
            { name: "Seats", cell: (each) => <Seats of={each} /> },
            { name: "Asked for by", cell: (each) => each.requested_by },
            { name: "Asked", number: true, cell: (each) => <When at={each.created_at} /> },
            {
              name: "Decided",
              number: true,
              cell: (each) =>
                each.decided_at ? (
                  <When at={each.decided_at} />
                ) : each.status === "pending" ? (
                  <>
                    lapses <When at={each.expires_at} />
                  </>
                ) : (
                  "–"
                ),
            },
          ]}
        />
      </Panel>
    </Page>
  );
}

export function State({ of }: { of: Approval }) {
  if (of.glass_broken)
    return (
      <Status of="warning" tone={of.glass_broken.reviewed_at ? "warn" : "bad"}>
        glass broken{of.glass_broken.reviewed_at ? ", reviewed" : ", not reviewed"}
      </Status>
    );
  return <Status of={of.status}>{of.automatic ? "approved by the rule" : undefined}</Status>;
}

function Seats({ of }: { of: Approval }) {
  if (of.automatic) return <>none needed</>;
  const taken = Object.keys(filled(of)).length;
  const missing =
    of.status === "pending" && of.missing.length > 0 ? `, missing: ${of.missing.map(words).join(", ")}` : "";
  return (
    <>
      {taken} of {of.requirement.quorum}
      {missing}
    </>
  );
}
