/** The newest drift check in short; monitoring has the rest. */

import { Group } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { answer, api } from "../../api/client";
import { CALM, LIVE } from "../../api/live";
import { number } from "../../parts/figures";
import { LinkButton } from "../../parts/link";
import { Panel } from "../../parts/page";
import { Empty, Loaded } from "../../parts/states";
import { Status } from "../../parts/status";
import { Table } from "../../parts/table";
import { When } from "../../parts/when";

export function Watch({ team, id }: { team: string; id: string }) {
  const query = useQuery({
    queryKey: [team, "deployments", id, "drift"],
    queryFn: () =>
      answer(
        api.GET("/api/v1/deployments/{deployment_id}/drift/checks", {
          params: { path: { deployment_id: id }, query: { limit: 50 } },
        }),
      ),
    refetchInterval: ({ state }) =>
      state.data?.items.some(({ status }) => status === "queued" || status === "running") ? LIVE : CALM,
  });
  return (
    <Panel
      title="Drift checks"
      flush
      actions={
        <Group gap="xs">
          <LinkButton to="/$team/monitoring" params={{ team }} search={{ deployment: id }}>
            Open its monitoring
          </LinkButton>
        </Group>
      }
    >
      <Loaded query={query}>
        {({ items }) => (
          <Table
            label="Drift checks"
            rows={items}
            id={(each) => each.check_id}
            empty={
              <Empty title="Not checked yet">
                A check compares the logged predictions with what the model was made from: mlops drift check
              </Empty>
            }
            columns={[
              { name: "Checked", cell: (each) => <When at={each.created_at} /> },
              { name: "Found", cell: (each) => <Status of={each.verdict ?? each.status} /> },
              {
                name: "Version",
                cell: (each) => (each.model_name ? `${each.model_name}/${each.model_version}` : "–"),
              },
              { name: "Rows", number: true, cell: (each) => number(each.rows) },
              { name: "Features that drifted", cell: (each) => each.drifted_features.join(", ") || "none" },
              { name: "Asked for by", cell: (each) => each.requested_by },
            ]}
          />
        )}
      </Loaded>
    </Panel>
  );
}
