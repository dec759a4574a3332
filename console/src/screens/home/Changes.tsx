import { Group, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { answer, api } from "../../api/client";
import { CALM } from "../../api/live";
import type { Schemas } from "../../api/types";
import { Link } from "../../parts/link";
import { Panel } from "../../parts/page";
import { Loaded } from "../../parts/states";
import { When } from "../../parts/when";

const SHOWN = 10;
/** What happens all the time, and is found under Audit. */
const NOISE = /^(session\.|rollout\.stage\.)/;

/** What somebody, or the platform, has changed of late. */
export function Changes({ team }: { team: string }) {
  const query = useQuery({
    queryKey: [team, "changes"],
    queryFn: () => answer(api.GET("/api/v1/audit/events", { params: { query: { limit: 100 } } })),
    refetchInterval: CALM,
  });
  return (
    <Panel
      title="Recent changes"
      actions={
        <Link to="/$team/audit" params={{ team }} size="sm">
          All of them
        </Link>
      }
    >
      <Loaded query={query}>
        {({ items }) => (
          <Stack gap="xs" component="ol" m={0} p={0} className="changes">
            {items
              .filter((event) => !NOISE.test(event.action))
              .slice(0, SHOWN)
              .map((event) => (
                <Change key={event.event_id} event={event} />
              ))}
          </Stack>
        )}
      </Loaded>
    </Panel>
  );
}

function Change({ event }: { event: Schemas["AuditEvent"] }) {
  return (
    <li>
      <Group justify="space-between" gap="xs" wrap="nowrap" align="baseline">
        <Text size="sm" miw={0} truncate>
          {event.actor_name}: {event.action}
        </Text>
        <Text size="xs" c="dimmed" style={{ whiteSpace: "nowrap" }}>
          <When at={event.at} />
        </Text>
      </Group>
      <Text size="xs" c="dimmed" truncate title={event.resource_id}>
        {event.resource_kind} {event.resource_id}
      </Text>
    </li>
  );
}
