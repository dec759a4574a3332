/** One experiment: its runs, side by side where one wants them so, and the versions that came out of it. */

import { Anchor } from "@mantine/core";
import { IconExternalLink } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";
import { answer, api } from "../../api/client";
import { number } from "../../parts/figures";
import { Link, LinkButton } from "../../parts/link";
import { mlflowAddress } from "../../parts/mlflow";
import { Page, Panel } from "../../parts/page";
import { Empty, Failed, Loaded } from "../../parts/states";
import { Table } from "../../parts/table";
import { When } from "../../parts/when";
import { GateWord } from "../models/Versions";
import { Runs } from "./Runs";

export function Experiment() {
  const { team, experiment: id } = useParams({ from: "/$team/experiments/$experiment" });
  const path = { experiment: id };
  const experiment = useQuery({
    queryKey: [team, "experiments", id],
    queryFn: () => answer(api.GET("/api/v1/experiments/{experiment}", { params: { path } })),
  });
  const models = useQuery({
    queryKey: [team, "experiments", id, "models"],
    queryFn: () =>
      answer(api.GET("/api/v1/experiments/{experiment}/models", { params: { path, query: { limit: 50 } } })),
  });
  const found = experiment.data;
  return (
    <Page
      title={found?.name ?? "Experiment"}
      trail={[
        <Link key="experiments" to="/$team/experiments" params={{ team }}>
          Experiments
        </Link>,
      ]}
      about={found?.description}
      actions={
        <>
          {found && (
            <Anchor
              size="sm"
              href={mlflowAddress(found.workspace, `/experiments/${found.experiment_id}/runs`)}
              target="_blank"
              rel="noreferrer"
            >
              Open in MLflow <IconExternalLink size={12} role="img" aria-label="opens in a new tab" />
            </Anchor>
          )}
          <LinkButton to="/$team/jobs" params={{ team }} search={{ experiment: id }}>
            Its jobs
          </LinkButton>
        </>
      }
    >
      {experiment.error ? <Failed error={experiment.error} again={() => experiment.refetch()} /> : null}
      <Runs team={team} experiment={id} />
      <Panel title="Registered from here" flush>
        <Loaded query={models}>
          {({ items }) => (
            <Table
              label="Registered from here"
              rows={items}
              id={(model) => model.model_id}
              empty={
                <Empty title="Nothing is registered from here yet">
                  A job with --register-as does it by itself.
                </Empty>
              }
              columns={[
                {
                  name: "Version",
                  cell: (model) => (
                    <Link
                      to="/$team/models/$name/$version"
                      params={{ team, name: model.name, version: String(model.version) }}
                    >
                      {model.model_id}
                    </Link>
                  ),
                },
                { name: "Gate", cell: (model) => <GateWord of={model.gate} /> },
                { name: "Value", number: true, cell: (model) => number(model.gate?.value, 4) },
                { name: "Registered", cell: (model) => <When at={model.created_at} /> },
              ]}
            />
          )}
        </Loaded>
      </Panel>
    </Page>
  );
}
