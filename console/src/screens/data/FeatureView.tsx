/** A feature view: what it defines, how fresh it is online, and who uses it. */

import { Grid, Stack } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";
import { useState } from "react";
import { answer, api } from "../../api/client";
import { CALM, LIVE } from "../../api/live";
import type { Schemas } from "../../api/types";
import { Facts } from "../../parts/facts";
import { number, roughly } from "../../parts/figures";
import { Link, LinkButton } from "../../parts/link";
import { Page, Panel } from "../../parts/page";
import { Failed, Loaded } from "../../parts/states";
import { Status } from "../../parts/status";
import { Table } from "../../parts/table";
import { When } from "../../parts/when";
import { Freshness } from "./Freshness";
import { Lookup } from "./Lookup";
import { Materialize } from "./Materialize";
import { Users } from "./Users";

type View = Schemas["FeatureView"];

export function FeatureView() {
  const { team, view: name } = useParams({ from: "/$team/features/$view" });
  const [started, setStarted] = useState<string | null>(null);
  const query = useQuery({
    queryKey: [team, "features", name],
    queryFn: () => answer(api.GET("/api/v1/feature-views/{name}", { params: { path: { name } } })),
    refetchInterval: CALM,
  });
  const view = query.data;
  return (
    <Page
      title={name}
      trail={[
        <Link key="features" to="/$team/features" params={{ team }}>
          Features
        </Link>,
      ]}
      about={view?.description}
      actions={
        view && (
          <>
            <LinkButton to="/$team/lineage/$kind/$id" params={{ team, kind: "feature_view", id: name }}>
              Lineage
            </LinkButton>
            <Materialize team={team} view={view} started={setStarted} />
          </>
        )
      }
    >
      {started && <Progress team={team} id={started} />}
      <Loaded query={query} lines={8}>
        {(found) => (
          <Grid gap="md">
            <Grid.Col span={{ base: 12, lg: 7 }}>
              <Stack gap="md">
                <Features of={found} />
                <Lookup view={found} />
              </Stack>
            </Grid.Col>
            <Grid.Col span={{ base: 12, lg: 5 }}>
              <Stack gap="md">
                <Standing team={team} of={found} />
                <Users team={team} view={found} />
              </Stack>
            </Grid.Col>
          </Grid>
        )}
      </Loaded>
    </Page>
  );
}

function Standing({ team, of }: { team: string; of: View }) {
  return (
    <Panel title="Online">
      <Facts
        of={[
          ["Freshness", <Freshness key="freshness" of={of} />],
          ["Entities", number(of.online_entities)],
          ["Values live", of.ttl_seconds === null ? "for ever" : roughly(of.ttl_seconds)],
          [
            "From",
            <Link
              key="from"
              to="/$team/datasets/$name"
              params={{ team, name: of.dataset }}
              search={{ version: of.dataset_version }}
            >
              {of.dataset}@{of.dataset_version}
            </Link>,
          ],
          ["Time column", of.timestamp_field],
          ["Made by", of.created_by],
          ["Made", <When key="made" at={of.created_at} />],
        ]}
      />
    </Panel>
  );
}

function Features({ of }: { of: View }) {
  const rows = [
    ...of.entities.map((each) => ({ ...each, role: "looked up by" })),
    ...of.features.map((each) => ({ ...each, role: "feature" })),
  ];
  return (
    <Panel title={`${of.features.length} features`} flush>
      <Table
        label="Features"
        rows={rows}
        id={(each) => `${each.role} ${each.name}`}
        columns={[
          { name: "Name", cell: (each) => each.name, by: (each) => each.name },
          { name: "Role", cell: (each) => each.role, by: (each) => each.role },
          { name: "Type", cell: (each) => each.type.toLowerCase(), by: (each) => each.type },
          {
            name: "Personal data",
            cell: (each) => each.personal_data?.map((kind) => kind.replaceAll("_", " ")).join(", "),
          },
        ]}
      />
    </Panel>
  );
}

/** The materialisation that was started here, until it has ended. */
function Progress({ team, id }: { team: string; id: string }) {
  const query = useQuery({
    queryKey: [team, "materializations", id],
    queryFn: () =>
      answer(
        api.GET("/api/v1/materializations/{materialization_id}", {
          params: { path: { materialization_id: id } },
        }),
      ),
    refetchInterval: (current) => (current.state.data && !current.state.data.finished_at ? LIVE : false),
  });
  if (query.error) return <Failed error={query.error} />;
  if (!query.data) return null;
  const { status, entities, reason } = query.data;
  return (
    <Panel title="Materialisation">
      <div role="status">
        <Status of={status} />
        {entities !== null && `, ${number(entities)} entities`}
        {reason && `: ${reason}`}
      </div>
    </Panel>
  );
}
