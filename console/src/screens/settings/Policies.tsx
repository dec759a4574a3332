import { useQuery } from "@tanstack/react-query";
import { answer, api } from "../../api/client";
import { Panel } from "../../parts/page";
import { Loaded } from "../../parts/states";
import { Status } from "../../parts/status";
import { Table } from "../../parts/table";

/** The Cedar policies in force: the platform's own, and the organisation's beside them. */
export function Policies({ team }: { team: string }) {
  const query = useQuery({
    queryKey: [team, "policies"],
    queryFn: () => answer(api.GET("/api/v1/policies")),
  });
  return (
    <Panel title="Policies in force" flush>
      <Loaded query={query}>
        {(overview) => (
          <Table
            label="Policies"
            rows={overview.policies}
            id={(policy) => `${policy.origin} ${policy.policy_id}`}
            columns={[
              { name: "Policy", cell: (policy) => policy.policy_id, by: (policy) => policy.policy_id },
              { name: "From", cell: (policy) => policy.origin, by: (policy) => policy.origin },
              {
                name: "Effect",
                cell: (policy) => (
                  <Status of={policy.effect} tone={policy.effect === "permit" ? "good" : "warn"} />
                ),
                by: (policy) => policy.effect,
              },
              { name: "Actions", cell: (policy) => policy.actions?.join(", ") ?? "all" },
              { name: "Advice", cell: (policy) => policy.advice },
            ]}
          />
        )}
      </Loaded>
    </Panel>
  );
}
