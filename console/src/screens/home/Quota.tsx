import { Progress, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { answer, api } from "../../api/client";
import { number } from "../../parts/figures";
import { Panel } from "../../parts/page";
import { Loaded } from "../../parts/states";

/** What the team's endpoints take of what they may. */
export function Quota({ team }: { team: string }) {
  const query = useQuery({ queryKey: [team, "quota"], queryFn: () => answer(api.GET("/api/v1/quota")) });
  return (
    <Panel title="Quota">
      <Loaded query={query} lines={2}>
        {({ limits }) => (
          <Stack gap={6}>
            {limits.map(({ name, used, limit }) => (
              <div key={name}>
                <Text size="sm">
                  {name.replaceAll("_", " ")}: {number(used)}
                  {limit === null ? ", no limit" : ` of ${number(limit)}`}
                </Text>
                {limit !== null && (
                  <Progress
                    aria-label={`${name} used`}
                    value={limit > 0 ? Math.min(100, (100 * used) / limit) : 100}
                    color={used >= limit * 0.9 ? "red" : "indigo"}
                    size="sm"
                  />
                )}
              </div>
            ))}
          </Stack>
        )}
      </Loaded>
    </Panel>
  );
}
