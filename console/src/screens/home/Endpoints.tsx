import { useQueries, useQuery } from "@tanstack/react-query";
import { answer, api } from "../../api/client";
import { CALM } from "../../api/live";
import { milliseconds, number, percent } from "../../parts/figures";
import { Link } from "../../parts/link";
import { Panel } from "../../parts/page";
import { Empty, Loaded } from "../../parts/states";
import { Status } from "../../parts/status";
import { Table } from "../../parts/table";

const SHOWN = 20;

/** What serves now and how it does, by the last hour's traffic. */
export function Endpoints({ team }: { team: string }) {
  const query = useQuery({
    queryKey: [team, "deployments", "list", SHOWN],
    queryFn: () => answer(api.GET("/api/v1/deployments", { params: { query: { limit: SHOWN } } })),
    refetchInterval: CALM,
  });
  const items = query.data?.items.filter((each) => each.status !== "retired") ?? [];
  const traffic = useQueries({
    queries: items.map(({ deployment_id: id }) => ({
      queryKey: [team, "deployments", id, "metrics", "1h"],
      queryFn: () =>
        answer(
          api.GET("/api/v1/deployments/{deployment_id}/metrics", {
            params: { path: { deployment_id: id }, query: { window: "1h" } },
          }),
        ),
      refetchInterval: CALM,
    })),
  });
  const of = new Map(items.map((each, index) => [each.deployment_id, traffic[index]?.data]));
  const slowest = (id: string) =>
    Math.max(...(of.get(id)?.revisions.map((revision) => revision.latency_ms_p95 ?? 0) ?? [0])) || null;
  return (
    <Panel
      title="Endpoints, by the last hour"
      flush
      actions={
        <Link to="/$team/deployments" params={{ team }} size="sm">
          All deployments
        </Link>
      }
    >
      <Loaded query={query}>
        {() => (
          <Table
            label="Endpoints"
            rows={items}
            id={(each) => each.deployment_id}
            empty={
              <Empty title="Nothing is deployed yet">
                Choose a version under Models and deploy it, or: mlops deploy --model NAME --environment
                staging
              </Empty>
            }
            columns={[
              {
                name: "Endpoint",
                cell: (each) => (
                  <Link to="/$team/deployments/$deployment" params={{ team, deployment: each.deployment_id }}>
                    {each.environment}/{each.name}
                  </Link>
                ),
                by: (each) => `${each.environment}/${each.name}`,
              },
              { name: "Serves", cell: (each) => each.serving_model_id ?? "nothing yet" },
              { name: "State", cell: (each) => <Status of={each.status} />, by: (each) => each.status },
              {
                name: "Requests/s",
                number: true,
                cell: (each) => number(of.get(each.deployment_id)?.requests_per_second, 2),
                by: (each) => of.get(each.deployment_id)?.requests_per_second,
              },
              {
                name: "Errors",
                number: true,
                cell: (each) => percent(of.get(each.deployment_id)?.error_rate),
                by: (each) => of.get(each.deployment_id)?.error_rate,
              },
              {
                name: "p95",
                number: true,
                cell: (each) => milliseconds(slowest(each.deployment_id)),
                by: (each) => slowest(each.deployment_id),
              },
            ]}
          />
        )}
      </Loaded>
    </Panel>
  );
}
