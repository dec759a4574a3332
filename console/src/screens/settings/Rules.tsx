import { useQuery } from "@tanstack/react-query";
import { answer, api } from "../../api/client";
import { Facts } from "../../parts/facts";
import { number } from "../../parts/figures";
import { Panel } from "../../parts/page";
import { Empty, Loaded } from "../../parts/states";

/** What an administrator has set for the team. */
export function Rules({ team }: { team: string }) {
  const query = useQuery({
    queryKey: [team, "teams"],
    queryFn: () => answer(api.GET("/api/v1/teams", { params: { query: { limit: 200 } } })),
  });
  return (
    <Panel title="Rules of the team">
      <Loaded query={query}>
        {({ items }) => {
          const own = items.find((each) => each.name === team);
          if (!own) return <Empty title="This team is not listed for you" />;
          const rate = own.requests_per_second ? `${number(own.requests_per_second)} a second` : "no limit";
          const idle = own.session_idle_minutes ? `${own.session_idle_minutes} minutes` : "8 hours";
          return (
            <Facts
              of={[
                ["Description", own.description],
                ["Predictions, all keys together", rate],
                ["A browser session ends unused after", idle],
              ]}
            />
          );
        }}
      </Loaded>
    </Panel>
  );
}
