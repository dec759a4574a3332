/** A dataset in one of its versions: what its columns hold, a few rows, personal data, and every version. */

import { Select, Stack } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { answer, api } from "../../api/client";
import { usePages } from "../../api/pages";
import type { Schemas } from "../../api/types";
import { number } from "../../parts/figures";
import { Link, LinkButton } from "../../parts/link";
import { Page, Panel } from "../../parts/page";
import { Empty, Loaded } from "../../parts/states";
import { PagedTable } from "../../parts/table";
import { When } from "../../parts/when";
import { Columns } from "./Columns";
import { PersonalData } from "./PersonalData";
import { Sample } from "./Sample";
import { Validate } from "./Validate";

export function Dataset() {
  const { team, name } = useParams({ from: "/$team/datasets/$name" });
  const { version: asked } = useSearch({ from: "/$team/datasets/$name" });
  const dataset = useQuery({
    queryKey: [team, "datasets", name],
    queryFn: () => answer(api.GET("/api/v1/datasets/{name}", { params: { path: { name } } })),
  });
  const newest = dataset.data?.latest_version ?? 0;
  const version = asked ?? newest;
  return (
    <Page
      title={name}
      trail={[
        <Link key="datasets" to="/$team/datasets" params={{ team }}>
          Datasets
        </Link>,
      ]}
      about={dataset.data?.description}
      actions={
        version > 0 && (
          <>
            <Choice team={team} name={name} version={version} newest={newest} />
            <LinkButton
              to="/$team/lineage/$kind/$id"
              params={{ team, kind: "dataset", id: `${name}@${version}` }}
            >
              What was made of it
            </LinkButton>
          </>
        )
      }
    >
      <Loaded query={dataset}>
        {() =>
          version > 0 ? (
            <OneVersion key={version} team={team} name={name} version={version} />
          ) : (
            <Panel>
              <Empty title="It has no version yet">mlops datasets upload {name} FILE</Empty>
            </Panel>
          )
        }
      </Loaded>
      <Versions team={team} name={name} />
    </Page>
  );
}

function Choice({
  team,
  name,
  version,
  newest,
}: {
  team: string;
  name: string;
  version: number;
  newest: number;
}) {
  const navigate = useNavigate();
  if (newest < 2) return null;
  const all = Array.from({ length: Math.min(newest, 200) }, (_, index) => newest - index);
  return (
    <Select
      aria-label="Version"
      size="xs"
      w={140}
      allowDeselect={false}
      data={all.map((each) => ({ value: String(each), label: `version ${each}` }))}
      value={String(version)}
      onChange={(value) =>
        navigate({ to: "/$team/datasets/$name", params: { team, name }, search: { version: Number(value) } })
      }
    />
  );
}

function OneVersion({ team, name, version }: { team: string; name: string; version: number }) {
  const query = useQuery({
    queryKey: [team, "datasets", name, "versions", version],
    queryFn: () =>
      answer(api.GET("/api/v1/datasets/{name}/versions/{version}", { params: { path: { name, version } } })),
    staleTime: 60_000,
  });
  return (
    <Loaded query={query} lines={8}>
      {(found: Schemas["DatasetVersion"]) => (
        <Stack gap="md">
          <Columns of={found} />
          <PersonalData team={team} name={name} version={version} />
          <Sample team={team} name={name} version={version} />
          <Validate name={name} />
        </Stack>
      )}
    </Loaded>
  );
}

function Versions({ team, name }: { team: string; name: string }) {
  const pages = usePages([team, "datasets", name, "versions"], (cursor) =>
    answer(
      api.GET("/api/v1/datasets/{name}/versions", {
        params: { path: { name }, query: { limit: 50, cursor } },
      }),
    ),
  );
  return (
    <Panel title="Versions" flush>
      <PagedTable
        label="Versions"
        pages={pages}
        id={(row) => String(row.version)}
        columns={[
          {
            name: "Version",
            cell: (row) => (
              <Link to="/$team/datasets/$name" params={{ team, name }} search={{ version: row.version }}>
                version&nbsp;{row.version}
              </Link>
            ),
          },
          { name: "Rows", number: true, cell: (row) => number(row.rows) },
          { name: "Columns", number: true, cell: (row) => number(row.columns) },
          { name: "SHA-256", cell: (row) => row.digest.replace(/^sha256:/, "").slice(0, 12) },
          { name: "By", cell: (row) => row.created_by },
          { name: "When", cell: (row) => <When at={row.created_at} /> },
        ]}
      />
    </Panel>
  );
}
