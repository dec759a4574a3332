/** The model card as the approval is bound to it. */

import { Text } from "@mantine/core";
import type { Schemas } from "../../api/types";
import { Facts } from "../../parts/facts";
import { Link } from "../../parts/link";
import { Panel } from "../../parts/page";
import { type Bag, line, words } from "../../parts/unknown";

export function Card({ team, of, card }: { team: string; of: Schemas["Approval"]; card: Bag }) {
  const sections = Object.entries(card);
  return (
    <Panel
      title="Model card"
      actions={
        <Link
          size="sm"
          to="/$team/models/$name/$version"
          params={{ team, name: of.model_name, version: String(of.model_version) }}
        >
          The version
        </Link>
      }
    >
      {sections.length === 0 ? (
        <Text size="sm">It is empty.</Text>
      ) : (
        <Facts of={sections.map(([name, said]) => [words(name), line(said)])} />
      )}
    </Panel>
  );
}
