/** One model: what stands in the register about it, its versions and how good each is, its risk, its reviews. */

import { Grid, Stack } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";
import { answer, api } from "../../api/client";
import { Facts } from "../../parts/facts";
import { Link, LinkButton } from "../../parts/link";
import { Page, Panel } from "../../parts/page";
import { Loaded } from "../../parts/states";
import { When } from "../../parts/when";
import { Aliases } from "./Aliases";
import { endpoints } from "./catalogue";
import { Risk } from "./Models";
import { Owner } from "./Owner";
import { Review } from "./Review";
import { Reviews } from "./Reviews";
import { RiskPanel } from "./RiskPanel";
import { Serves } from "./Serves";
import { Versions } from "./Versions";

export function Model() {
  const { team, name } = useParams({ from: "/$team/models/$name" });
  const model = useQuery({
    queryKey: [team, "models", name],
    queryFn: () => answer(api.GET("/api/v1/models/{model_id}", { params: { path: { model_id: name } } })),
  });
  const governed = useQuery({
    queryKey: [team, "models", name, "governed"],
    queryFn: () => answer(api.GET("/api/v1/governance/models/{name}", { params: { path: { name } } })),
  });
  const deployments = useQuery({ queryKey: [team, "deployments", "serving"], queryFn: endpoints });
  return (
    <Page
      title={name}
      trail={[
        <Link key="models" to="/$team/models" params={{ team }}>
          Models
        </Link>,
      ]}
      about={model.data?.description}
      actions={
        <LinkButton to="/$team/lineage/$kind/$id" params={{ team, kind: "model", id: name }}>
          Lineage
        </LinkButton>
      }
    >
      <Grid gap="md">
        <Grid.Col span={{ base: 12, lg: 8 }}>
          <Stack gap="md">
            <Versions team={team} name={name} />
            <Serves
              team={team}
              query={deployments}
              holds={(revision) => revision.model_name === name}
              title="Where it serves"
            />
            <Reviews team={team} name={name} />
          </Stack>
        </Grid.Col>
        <Grid.Col span={{ base: 12, lg: 4 }}>
          <Stack gap="md">
            <Panel
              title="In the register"
              actions={<Owner team={team} name={name} owner={governed.data?.owner} />}
            >
              <Loaded query={governed}>
                {(line) => (
                  <Facts
                    of={[
                      ["Owner", line.owner],
                      ["Risk", <Risk key="risk" of={line} />],
                      ["Review", <Review key="review" of={line} />],
                      ["In production", line.serving.join(", ") || "nothing"],
                      ["Registered by", model.data?.created_by],
                      ["Registered", <When key="made" at={model.data?.created_at} />],
                    ]}
                  />
                )}
              </Loaded>
            </Panel>
            <RiskPanel team={team} name={name} />
            <Aliases
              team={team}
              name={name}
              aliases={model.data?.aliases}
              newest={model.data?.latest_version}
            />
          </Stack>
        </Grid.Col>
      </Grid>
    </Page>
  );
}
