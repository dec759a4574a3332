/** One version: how good it is and who says so, its card, what it takes and gives, and where it serves. */

import { Grid, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";
import { answer, api } from "../../api/client";
import { CALM } from "../../api/live";
import type { Schemas } from "../../api/types";
import { Link, LinkButton } from "../../parts/link";
import { Page, Panel } from "../../parts/page";
import { Loaded } from "../../parts/states";
import { When } from "../../parts/when";
import { Card } from "./Card";
import { endpoints } from "./catalogue";
import { Deploy } from "./Deploy";
import { Evidence } from "./Evidence";
import { Origin } from "./Origin";
import { PersonalInputs } from "./PersonalInputs";
import { Serves } from "./Serves";
import { Signature } from "./Signature";
import { VersionApprovals } from "./VersionApprovals";

export function Version() {
  const { team, name, version: text } = useParams({ from: "/$team/models/$name/$version" });
  const number = Number(text);
  const query = useQuery({
    queryKey: [team, "models", name, "versions", number],
    queryFn: () =>
      answer(
        api.GET("/api/v1/models/{name}/versions/{version}", { params: { path: { name, version: number } } }),
      ),
  });
  const version = query.data;
  return (
    <Page
      title={`${name}, version ${text}`}
      trail={[
        <Link key="models" to="/$team/models" params={{ team }}>
          Models
        </Link>,
        <Link key="model" to="/$team/models/$name" params={{ team, name }}>
          {name}
        </Link>,
      ]}
      about={version && <About of={version} />}
      actions={
        version && (
          <>
            <LinkButton to="/$team/lineage/$kind/$id" params={{ team, kind: "model", id: `${name}/${text}` }}>
              Lineage
            </LinkButton>
            <Deploy team={team} model={version} />
          </>
        )
      }
    >
      <Loaded query={query}>{(found) => <Parts team={team} of={found} />}</Loaded>
    </Page>
  );
}

function About({ of }: { of: Schemas["ModelVersion"] }) {
  return (
    <>
      {of.aliases.map((alias) => `@${alias}`).join(", ")}
      {of.aliases.length > 0 && ", "}
      registered by {of.created_by} <When at={of.created_at} />
    </>
  );
}

function Parts({ team, of }: { team: string; of: Schemas["ModelVersion"] }) {
  const deployments = useQuery({
    queryKey: [team, "deployments", "serving"],
    queryFn: endpoints,
    refetchInterval: CALM,
  });
  return (
    <Grid gap="md">
      <Grid.Col span={{ base: 12, lg: 7 }}>
        <Stack gap="md">
          {of.description && (
            <Panel title="Description">
              <Text size="sm">{of.description}</Text>
            </Panel>
          )}
          <Evidence of={of} />
          <Serves
            team={team}
            query={deployments}
            holds={(revision) => revision.model_name === of.name && revision.model_version === of.version}
            title="Where it serves"
          />
          <VersionApprovals team={team} name={of.name} version={of.version} />
          <Card team={team} name={of.name} version={of.version} />
        </Stack>
      </Grid.Col>
      <Grid.Col span={{ base: 12, lg: 5 }}>
        <Stack gap="md">
          <Origin team={team} of={of} />
          <Signature of={of} />
          {of.feature_view && <PersonalInputs team={team} view={of.feature_view} />}
        </Stack>
      </Grid.Col>
    </Grid>
  );
}
