import type { UseQueryResult } from "@tanstack/react-query";
import type { Schemas } from "../../api/types";
import { percent } from "../../parts/figures";
import { Link } from "../../parts/link";
import { Panel } from "../../parts/page";
import { Empty, Loaded } from "../../parts/states";
import { Status } from "../../parts/status";
import { Table } from "../../parts/table";

type Revision = Schemas["Revision"];

interface Props {
  team: string;
  title: string;
  query: UseQueryResult<Schemas["Deployment"][]>;
  holds: (revision: Revision) => boolean;
}

interface Line {
  deployment: Schemas["Deployment"];
  revision: Revision;
}

/** The endpoints that hold a revision of this model, and what part of the traffic it gets there. */
export function Serves({ team, title, query, holds }: Props) {
  return (
    <Panel title={title} flush>
      <Loaded query={query}>
        {(deployments) => (
          <Table
            label={title}
            rows={lines(deployments, holds)}
            id={({ revision }) => revision.revision_id}
            empty={
              <Empty title="It serves nowhere yet">
                Deploy a version to staging first: its page has the button.
              </Empty>
            }
            columns={[
              {
                name: "Endpoint",
                cell: ({ deployment }) => (
                  <Link
                    to="/$team/deployments/$deployment"
                    params={{ team, deployment: deployment.deployment_id }}
                  >
                    {deployment.environment}/{deployment.name}
                  </Link>
                ),
              },
              {
                name: "Version",
                cell: ({ revision }) => (
                  <Link
                    to="/$team/models/$name/$version"
                    params={{ team, name: revision.model_name, version: String(revision.model_version) }}
                  >
                    version&nbsp;{revision.model_version}
                  </Link>
                ),
                by: ({ revision }) => revision.model_version,
              },
              { name: "Revision", cell: ({ revision }) => <Status of={revision.status} /> },
              {
                name: "Traffic",
                number: true,
                cell: ({ revision }) => percent(revision.weight / 100),
                by: ({ revision }) => revision.weight,
              },
              { name: "Endpoint is", cell: ({ deployment }) => <Status of={deployment.status} /> },
            ]}
          />
        )}
      </Loaded>
    </Panel>
  );
}

function lines(deployments: Schemas["Deployment"][], holds: Props["holds"]): Line[] {
  return deployments.flatMap((deployment) =>
    deployment.revisions
      .filter((revision) => revision.status !== "retired" && holds(revision))
      .map((revision) => ({ deployment, revision })),
  );
}
