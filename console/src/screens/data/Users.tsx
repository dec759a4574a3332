import { useQuery } from "@tanstack/react-query";
import { answer, api } from "../../api/client";
import type { Schemas } from "../../api/types";
import { Panel } from "../../parts/page";
import { Empty, Loaded } from "../../parts/states";
import { Table } from "../../parts/table";
import { NodeLink } from "../models/NodeLink";
import { kindWords } from "../models/nodes";

const SHOWN: Schemas["LineageKind"][] = ["model", "deployment", "training_set"];

/** The models and endpoints that stand on the view, by the lineage. */
export function Users({ team, view }: { team: string; view: Schemas["FeatureView"] }) {
  const query = useQuery({
    queryKey: [team, "lineage", "feature_view", view.name, "downstream"],
    queryFn: () =>
      answer(
        api.GET("/api/v1/lineage/{kind}/{id}", {
          params: {
            path: { kind: "feature_view", id: view.name },
            query: { direction: "downstream", limit: 300 },
          },
        }),
      ),
  });
  return (
    <Panel title="Used by" flush>
      <Loaded query={query}>
        {(graph) => (
          <Table
            label="Used by"
            rows={graph.nodes.filter((node) => SHOWN.includes(node.kind))}
            id={(node) => node.ref}
            empty={
              <Empty title="Nothing uses it yet">
                A training set that joins it, or a model that looks it up, appears here.
              </Empty>
            }
            columns={[
              { name: "What", cell: (node) => kindWords(node.kind), by: (node) => node.kind },
              { name: "Name", cell: (node) => <NodeLink team={team} node={node} /> },
            ]}
          />
        )}
      </Loaded>
    </Panel>
  );
}
