/** What something was made of, and what was made of it: as a graph, and as a list that says the same. */

import { Group, SegmentedControl, Stack, Switch, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";
import { useState } from "react";
import { answer, api } from "../../api/client";
import type { Schemas } from "../../api/types";
import { Facts, Json } from "../../parts/facts";
import { Link } from "../../parts/link";
import { Page, Panel } from "../../parts/page";
import { Empty, Loaded } from "../../parts/states";
import { Table } from "../../parts/table";
import { When } from "../../parts/when";
import { LineageGraph } from "./LineageGraph";
import { NodeLink } from "./NodeLink";
import { kindWords, type Node, nameOf } from "./nodes";

type Graph = Schemas["LineageGraph"];
type Direction = Schemas["LineageDirection"];

const DRAWN = 300;

export function Lineage() {
  const { team, kind, id } = useParams({ from: "/$team/lineage/$kind/$id" });
  const [direction, setDirection] = useState<Direction>("both");
  const [predictions, setPredictions] = useState(false);
  const of = kind as Schemas["LineageKind"];
  const query = useQuery({
    queryKey: [team, "lineage", kind, id, direction, predictions],
    queryFn: () =>
      answer(
        api.GET("/api/v1/lineage/{kind}/{id}", {
          params: { path: { kind: of, id }, query: { direction, predictions, limit: DRAWN } },
        }),
      ),
  });
  return (
    <Page
      title={`Lineage of ${id}`}
      about={`A ${kindWords(of)}: what it was made of, and what was made of it`}
    >
      <Group gap="md">
        <SegmentedControl
          aria-label="Direction"
          size="xs"
          value={direction}
          onChange={(value) => setDirection(value as Direction)}
          data={[
            { value: "upstream", label: "Made of" },
            { value: "both", label: "Both" },
            { value: "downstream", label: "Led to" },
          ]}
        />
        <Switch
          label="Count predictions"
          size="xs"
          checked={predictions}
          onChange={(event) => setPredictions(event.currentTarget.checked)}
        />
      </Group>
      <Loaded query={query} lines={8}>
        {(graph) => <Shown key={`${kind} ${id}`} team={team} graph={graph} />}
      </Loaded>
    </Page>
  );
}

function Shown({ team, graph }: { team: string; graph: Graph }) {
  const [picked, setPicked] = useState(graph.root);
  const nodes = new Map(graph.nodes.map((node) => [node.ref, node]));
  const chosen = nodes.get(picked) ?? nodes.get(graph.root);
  return (
    <Stack gap="md">
      {graph.truncated && (
        <Text size="sm">
          Only the nearest {graph.nodes.length} are shown. Go on from one at the edge, or: mlops lineage
          --limit 5000
        </Text>
      )}
      {(graph.notes ?? []).map((note) => (
        <Text size="sm" key={note}>
          {note}
        </Text>
      ))}
      <Panel title="Graph">
        <LineageGraph graph={graph} chosen={chosen?.ref ?? graph.root} choose={setPicked} />
      </Panel>
      {chosen && <Chosen team={team} node={chosen} root={graph.root} />}
      <All team={team} graph={graph} nodes={nodes} pick={setPicked} picked={picked} />
    </Stack>
  );
}

/** What is known of the node that was pressed. */
function Chosen({ team, node, root }: { team: string; node: Node; root: string }) {
  return (
    <Panel
      title={`${kindWords(node.kind)} ${nameOf(node)}`}
      actions={
        node.ref !== root && (
          <Link to="/$team/lineage/$kind/$id" params={{ team, kind: node.kind, id: node.id }} size="sm">
            Lineage from here
          </Link>
        )
      }
    >
      <Facts
        of={[
          ["Go to", <NodeLink key="page" team={team} node={node} />],
          ["Id", node.id],
          ["Made by", node.created_by],
          ["Made", node.created_at && <When key="made" at={node.created_at} />],
        ]}
      />
      {Object.keys(node.details ?? {}).length > 0 && <Json of={node.details} label="Details" />}
    </Panel>
  );
}

interface List {
  team: string;
  graph: Graph;
  nodes: Map<string, Node>;
  pick: (ref: string) => void;
  picked: string;
}

function All({ team, graph, nodes, pick, picked }: List) {
  const made = (ref: string) => graph.edges.filter((edge) => edge.target === ref);
  const rows = [...graph.nodes].sort((a, b) => a.distance - b.distance || a.kind.localeCompare(b.kind));
  return (
    <Panel title="As a list" flush>
      <Table
        label="Lineage as a list"
        rows={rows}
        id={(node) => node.ref}
        empty={<Empty title="Nothing is known of where it came from" />}
        columns={[
          { name: "Steps", number: true, cell: (node) => steps(node.distance), by: (node) => node.distance },
          { name: "What", cell: (node) => kindWords(node.kind), by: (node) => node.kind },
          {
            name: "Name",
            cell: (node) => (
              <button
                type="button"
                className="as-link"
                aria-pressed={node.ref === picked}
                onClick={() => pick(node.ref)}
              >
                {nameOf(node)}
              </button>
            ),
            by: nameOf,
          },
          {
            name: "Made of",
            cell: (node) =>
              made(node.ref).map(({ source, relation }) => {
                const from = nodes.get(source);
                return (
                  <div key={`${source} ${relation}`}>
                    {from ? `${kindWords(from.kind)} ${nameOf(from)}` : source} (
                    {relation.replaceAll("_", " ")})
                  </div>
                );
              }),
          },
          {
            name: "Page",
            cell: (node) => (
              <NodeLink team={team} node={node}>
                open
              </NodeLink>
            ),
          },
          { name: "Made", cell: (node) => <When at={node.created_at} /> },
        ]}
      />
    </Panel>
  );
}

function steps(distance: number): string {
  if (distance === 0) return "here";
  return distance < 0 ? `${-distance} before` : `${distance} after`;
}
