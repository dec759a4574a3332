import type { Schemas } from "../../api/types";
import { Panel } from "../../parts/page";
import { Empty } from "../../parts/states";
import { Status } from "../../parts/status";
import { Table } from "../../parts/table";
import { words } from "../../parts/unknown";
import { When } from "../../parts/when";

/** What each said, with the roles that they held. */
export function Votes({ of }: { of: Pick<Schemas["Approval"], "votes" | "automatic"> }) {
  return (
    <Panel title="Votes" flush>
      <Table
        label="Votes"
        rows={of.votes}
        id={(vote) => vote.voter}
        empty={<Empty title={of.automatic ? "The rule decided" : "Nobody has voted yet"} />}
        columns={[
          { name: "Who", cell: (vote) => vote.voter },
          { name: "Vote", cell: (vote) => <Status of={vote.verdict} /> },
          { name: "Why", cell: (vote) => vote.reason },
          { name: "As", cell: (vote) => vote.roles.map(words).join(", ") },
          { name: "When", cell: (vote) => <When at={vote.created_at} /> },
        ]}
      />
    </Panel>
  );
}
