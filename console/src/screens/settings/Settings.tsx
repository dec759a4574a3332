/** The team: who is in it with which roles, their keys, what it may take, and the policies in force. */

import { SimpleGrid } from "@mantine/core";
import { useTeam } from "../../parts/link";
import { Page } from "../../parts/page";
import { Quota } from "../home/Quota";
import { Keys } from "./Keys";
import { Members } from "./Members";
import { Policies } from "./Policies";
import { Rules } from "./Rules";

export function Settings() {
  const team = useTeam();
  return (
    <Page title={`Team ${team}`} about="Members, keys, quotas and policies.">
      <SimpleGrid cols={{ base: 1, lg: 2 }} spacing="md">
        <Members team={team} />
        <Keys team={team} />
        <Quota team={team} />
        <Rules team={team} />
      </SimpleGrid>
      <Policies team={team} />
    </Page>
  );
}
