/** The candidate beside what serves now: metrics on the same rows, and what else is different. */

import { Stack, Text, Title } from "@mantine/core";
import { useQueries } from "@tanstack/react-query";
import type { Schemas } from "../../api/types";
import { bytes, DASH, local, number } from "../../parts/figures";
import { Link } from "../../parts/link";
import { Panel } from "../../parts/page";
import { Empty, Failed, Loading } from "../../parts/states";
import { Table } from "../../parts/table";
import { bag, figure, line, list, text } from "../../parts/unknown";
import { partsOf, version } from "../deployments/api";
import { Comparison, compared } from "../deployments/evidence/Comparison";

type Detail = Schemas["ApprovalDetail"];
type Version = Schemas["ModelVersion"];

export function Compared({ team, of }: { team: string; of: Detail }) {
  const own = `${of.model_name}/${of.model_version}`;
  const serving =
    list(of.evidence.serving_now)
      .map(line)
      .find((id) => id !== own) ?? null;
  const tested = bag(bag(of.evidence.stages).test);
  const champion = bag(tested.champion);
  const sameRows = Object.keys(bag(champion.metrics)).length > 0;
  return (
    <Panel title="Compared with what serves now">
      {serving === null ? (
        <Empty title="Nothing serves there yet">This is the first version at this endpoint.</Empty>
      ) : (
        <>
          {sameRows && (
            <Stack gap={4}>
              <Title order={3}>On the same {number(figure(tested.rows))} held-out rows</Title>
              <Comparison
                label="Metrics on the same held-out rows"
                candidate={own}
                serving={text(champion.model) ?? serving}
                rows={compared(bag(tested.metrics), bag(champion.metrics))}
              />
            </Stack>
          )}
          {champion.not_comparable !== undefined && (
            <Text size="sm">
              On the same rows they could not be compared: {line(champion.not_comparable)}
            </Text>
          )}
          <Versions team={team} own={own} serving={serving} alone={!sameRows} />
        </>
      )}
    </Panel>
  );
}

/** What the registry says of both. */
function Versions({
  team,
  own,
  serving,
  alone,
}: {
  team: string;
  own: string;
  serving: string;
  alone: boolean;
}) {
  const asked = [own, serving].map(partsOf).filter((each) => each !== null);
  const found = useQueries({ queries: asked.map(({ name, number: of }) => version(team, name, of)) });
  const error = found.find((each) => each.error)?.error;
  if (error) return <Failed error={error} />;
  const [ours, theirs] = found.map((each) => each.data);
  if (!ours || !theirs) return <Loading lines={3} />;
  return (
    <Stack gap="sm">
      {alone && (
        <Stack gap={4}>
          <Title order={3}>As each was registered</Title>
          <Comparison
            label="Metrics as registered"
            candidate={own}
            serving={serving}
            rows={compared(ours.metrics, theirs.metrics)}
          />
        </Stack>
      )}
      <Differences team={team} ours={ours} theirs={theirs} />
    </Stack>
  );
}

interface Row {
  name: string;
  ours: React.ReactNode;
  theirs: React.ReactNode;
  same: boolean;
}

function Differences({ team, ours, theirs }: { team: string; ours: Version; theirs: Version }) {
  const rows = [
    row("registered", (each) => local(each.created_at), ours, theirs),
    row("by", (each) => each.created_by, ours, theirs),
    row("task", (each) => each.task ?? DASH, ours, theirs),
    row("label", (each) => each.label ?? DASH, ours, theirs),
    row("size", (each) => bytes(each.size_bytes), ours, theirs),
    row("feature view", (each) => each.feature_view ?? "none", ours, theirs),
    row("columns that only it takes", (each) => only(each, each === ours ? theirs : ours), ours, theirs),
    row(
      "gate",
      (each) => (each.gate?.metric ? `${each.gate.metric} ${number(each.gate.threshold, 4)}` : "none"),
      ours,
      theirs,
    ),
  ];
  return (
    <Table
      label="What else is different"
      rows={rows}
      id={({ name }) => name}
      columns={[
        { name: "Of the version", cell: (each) => each.name },
        { name: modelId(ours), cell: (each) => (each.same ? each.ours : <b>{each.ours}</b>) },
        {
          name: modelId(theirs),
          cell: (each) =>
            each.name === "registered" ? (
              <Link
                to="/$team/models/$name/$version"
                params={{ team, name: theirs.name, version: String(theirs.version) }}
              >
                {each.theirs}
              </Link>
            ) : (
              each.theirs
            ),
        },
      ]}
    />
  );
}

function row(name: string, show: (version: Version) => string, ours: Version, theirs: Version): Row {
  return { name, ours: show(ours), theirs: show(theirs), same: show(ours) === show(theirs) };
}

function only(one: Version, other: Version): string {
  const names = (of: Version) => list(bag(of.signature).inputs).map((column) => line(bag(column).name));
  const known = new Set(names(other));
  return (
    names(one)
      .filter((name) => !known.has(name))
      .join(", ") || "none"
  );
}

function modelId(of: Version): string {
  return `${of.name}/${of.version}`;
}
