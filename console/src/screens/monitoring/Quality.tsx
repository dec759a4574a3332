import { Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { answer, api } from "../../api/client";
import { number } from "../../parts/figures";
import { Panel } from "../../parts/page";
import { Empty, Loaded } from "../../parts/states";
import { Status } from "../../parts/status";
import { Table } from "../../parts/table";

/** How good the answers were, by the labels that arrived since. */
export function Quality({ team, id }: { team: string; id: string }) {
  const query = useQuery({
    queryKey: [team, "deployments", id, "quality"],
    queryFn: () =>
      answer(
        api.GET("/api/v1/deployments/{deployment_id}/quality", {
          params: { path: { deployment_id: id }, query: { window: "7d" } },
        }),
      ),
  });
  return (
    <Panel title="Live quality, by labels of seven days">
      <Loaded query={query}>
        {(quality) => (
          <Stack gap="xs">
            <Text size="sm">
              {number(quality.labels)} labels, {number(quality.matched)} of them belong to a logged
              prediction.
            </Text>
            <Table
              label="Quality by revision"
              rows={quality.revisions}
              id={(revision) => revision.revision_id}
              empty={
                <Empty title="No prediction has a label yet">
                  Send what really happened: mlops deployments ground-truth, or POST …/ground-truth
                </Empty>
              }
              columns={[
                { name: "Model", cell: (revision) => `${revision.model_name}/${revision.model_version}` },
                { name: "State", cell: (revision) => <Status of={revision.status} /> },
                { name: "Labelled", number: true, cell: (revision) => number(revision.labelled) },
                {
                  name: "Metrics",
                  cell: (revision) =>
                    Object.entries(revision.metrics)
                      .map(([name, value]) => `${name} ${number(value)}`)
                      .join(", ") || revision.reason,
                },
              ]}
            />
          </Stack>
        )}
      </Loaded>
    </Panel>
  );
}
