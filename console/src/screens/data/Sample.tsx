import { useQuery } from "@tanstack/react-query";
import { answer, api } from "../../api/client";
import { useMay } from "../../api/me";
import { Panel } from "../../parts/page";
import { Empty, Loaded } from "../../parts/states";
import { shown } from "./profile";

const ROWS = 10;

/** The first rows, for those who may read data. */
export function Sample({ team, name, version }: { team: string; name: string; version: number }) {
  const may = useMay("read_data");
  const query = useQuery({
    queryKey: [team, "datasets", name, "versions", version, "rows"],
    queryFn: () =>
      answer(
        api.GET("/api/v1/datasets/{name}/versions/{version}/rows", {
          params: { path: { name, version }, query: { limit: ROWS } },
        }),
      ),
    enabled: may,
    staleTime: 60_000,
  });
  return (
    <Panel title="First rows" flush>
      {may ? (
        <Loaded query={query}>
          {(found) => (
            <section className="table-frame" aria-label="First rows" tabIndex={0}>
              <table className="table one-line">
                <thead>
                  <tr>
                    {found.columns.map((column) => (
                      <th key={column} scope="col">
                        {column}
                      </th>
                    ))}
                  </tr>
                </thead>
                <tbody>{found.rows.map(line)}</tbody>
              </table>
            </section>
          )}
        </Loaded>
      ) : (
        <Empty title="You may not read rows">
          The permission read_data is needed; a team lead can give it.
        </Empty>
      )}
    </Panel>
  );

  function line(row: unknown[], place: number) {
    return (
      <tr key={place}>
        {row.map((value, column) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: nor do its columns
          <td key={column}>
            {typeof value === "object" && value !== null ? JSON.stringify(value) : shown(value)}
          </td>
        ))}
      </tr>
    );
  }
}
