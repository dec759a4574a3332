import { useQuery } from "@tanstack/react-query";
import { answer, api } from "../../api/client";
import { Link } from "../../parts/link";
import { Panel } from "../../parts/page";
import { Empty, Loaded } from "../../parts/states";
import { Table } from "../../parts/table";

/** Which of its features come from columns in which personal data was found. */
export function PersonalInputs({ team, view }: { team: string; view: string }) {
  const query = useQuery({
    queryKey: [team, "features", view],
    queryFn: () => answer(api.GET("/api/v1/feature-views/{name}", { params: { path: { name: view } } })),
  });
  return (
    <Panel title="Personal data among its features" flush>
      <Loaded query={query}>
        {(found) => (
          <Table
            label="Personal data among its features"
            rows={[...found.entities, ...found.features].filter((each) => each.personal_data?.length)}
            id={(feature) => feature.name}
            empty={
              <Empty title="None was found">Neither by the names of the columns nor by their values.</Empty>
            }
            columns={[
              { name: "Feature", cell: (feature) => feature.name },
              {
                name: "Holds",
                cell: (feature) => feature.personal_data?.map((kind) => kind.replaceAll("_", " ")).join(", "),
              },
              {
                name: "From",
                cell: () => (
                  <Link to="/$team/datasets/$name" params={{ team, name: found.dataset }}>
                    {found.dataset}@{found.dataset_version}
                  </Link>
                ),
              },
            ]}
          />
        )}
      </Loaded>
    </Panel>
  );
}
