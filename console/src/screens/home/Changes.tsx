import { useQuery } from "@tanstack/react-query";
import { answer, api } from "../../api/client";
import { CALM } from "../../api/live";
import { Panel } from "../../parts/page";
import { Loaded } from "../../parts/states";
import { Table } from "../../parts/table";
import { When } from "../../parts/when";

/** The newest entries of the audit log. */
export function Changes({ team }: { team: string }) {
  const query = useQuery({
    queryKey: [team, "changes"],
    queryFn: () => answer(api.GET("/api/v1/audit/events", { params: { query: { limit: 12 } } })),
    refetchInterval: CALM,
  });
  return (
    <Panel title="Recent changes" flush>
      <Loaded query={query}>
        {({ items }) => (
          <Table
            label="Recent changes"
            rows={items}
            id={(event) => event.event_id}
            columns={[
              { name: "Who", cell: (event) => event.actor_name },
              { name: "Did", cell: (event) => event.action },
              { name: "To", cell: (event) => `${event.resource_kind} ${event.resource_id}` },
              { name: "When", cell: (event) => <When at={event.at} />, number: true },
            ]}
          />
        )}
      </Loaded>
    </Panel>
  );
}
