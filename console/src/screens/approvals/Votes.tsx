import { Text } from "@mantine/core";
import type { Schemas } from "../../api/types";
import { Panel } from "../../parts/page";
import { Status } from "../../parts/status";
import { words } from "../../parts/unknown";
import { When } from "../../parts/when";

/** What each said, with the roles that they held. */
export function Votes({ of }: { of: Pick<Schemas["Approval"], "votes" | "automatic"> }) {
  return (
    <Panel title="Votes">
      {of.votes.length === 0 ? (
        <Text size="sm">{of.automatic ? "The rule decided." : "Nobody has voted yet."}</Text>
      ) : (
        <ul className="votes" aria-label="Votes">
          {of.votes.map((vote) => (
            <li key={vote.voter}>
              <Text size="sm" component="div">
                <b>{vote.voter}</b> <Status of={vote.verdict} />
              </Text>
              <Text size="sm" component="div">
                {vote.reason}
              </Text>
              <Text size="xs" c="dimmed" component="div">
                as {vote.roles.map(words).join(", ")}, <When at={vote.created_at} />
              </Text>
            </li>
          ))}
        </ul>
      )}
    </Panel>
  );
}
