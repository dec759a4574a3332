/** Who did what to what, and whether the log still is what was written. */

import { Button, Group, Paper, Stack, TextInput } from "@mantine/core";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useState } from "react";
import { answer, api } from "../../api/client";
import { usePages } from "../../api/pages";
import type { Schemas } from "../../api/types";
import { Facts, Json } from "../../parts/facts";
import { useTeam } from "../../parts/link";
import { Page, Panel } from "../../parts/page";
import { Empty } from "../../parts/states";
import { PagedTable } from "../../parts/table";
import { When } from "../../parts/when";
import { Integrity } from "./Integrity";
import type { Filters } from "./routes";

type Event = Schemas["AuditEvent"];

export function Audit() {
  const team = useTeam();
  const filters = useSearch({ strict: false }) as Filters;
  const [open, setOpen] = useState<Event | null>(null);
  const pages = usePages([team, "audit", filters], (cursor) =>
    answer(api.GET("/api/v1/audit/events", { params: { query: { limit: 200, cursor, ...filters } } })),
  );
  return (
    <Page
      title="Audit"
      about="Every change, in the transaction that made it, in a chain that cannot be rewritten unseen."
    >
      <Integrity team={team} />
      <Search team={team} filters={filters} key={JSON.stringify(filters)} />
      <div aria-live="polite">{open && <Details event={open} close={() => setOpen(null)} />}</div>
      <Panel title="Events" flush>
        <PagedTable
          label="Audit events"
          pages={pages}
          id={(event) => event.event_id}
          empty={<Empty title="No event fits">Take a filter away, or widen the time.</Empty>}
          columns={[
            {
              name: "No.",
              number: true,
              cell: (event) => (
                <button
                  type="button"
                  className="as-link"
                  aria-label={`Event ${event.sequence}`}
                  onClick={() => setOpen(event)}
                >
                  {event.sequence}
                </button>
              ),
            },
            { name: "When", cell: (event) => <When at={event.at} /> },
            { name: "Who", cell: (event) => event.actor_name },
            { name: "Did", cell: (event) => event.action },
            { name: "To", cell: (event) => `${event.resource_kind} ${event.resource_id}` },
            { name: "From", cell: (event) => event.source ?? "the platform" },
          ]}
        />
      </Panel>
    </Page>
  );
}

function Search({ team, filters }: { team: string; filters: Filters }) {
  const navigate = useNavigate();
  const [draft, setDraft] = useState<Filters>(filters);
  const field = (name: keyof Filters, label: string, placeholder: string) => (
    <TextInput
      label={label}
      placeholder={placeholder}
      size="xs"
      w={{ base: "100%", sm: 170 }}
      maxLength={200}
      value={draft[name] ?? ""}
      onChange={(event) => setDraft({ ...draft, [name]: event.currentTarget.value || undefined })}
    />
  );
  return (
    <Paper>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void navigate({ to: "/$team/audit", params: { team }, search: trimmed(draft) });
        }}
      >
        <Group align="flex-end" gap="sm">
          {field("actor", "Who", "ana")}
          {field("action", "Did", "deployment.promote")}
          {field("kind", "Kind of thing", "deployment")}
          {field("resource", "Thing", "dep_…")}
          {field("since", "Since", "2026-01-31T00:00:00Z")}
          {field("until", "Until", "2026-02-01T00:00:00Z")}
          <Button type="submit">Search</Button>
          <Button
            variant="default"
            onClick={() => navigate({ to: "/$team/audit", params: { team }, search: {} })}
          >
            Clear
          </Button>
        </Group>
      </form>
    </Paper>
  );
}

function trimmed(filters: Filters): Filters {
  return Object.fromEntries(
    Object.entries(filters)
      .map(([name, value]) => [name, value?.trim()])
      .filter(([, value]) => value),
  );
}

function Details({ event, close }: { event: Event; close: () => void }) {
  return (
    <Panel
      title={`Event ${event.sequence}`}
      actions={
        <Button variant="default" onClick={close}>
          Close
        </Button>
      }
    >
      <Stack gap="sm">
        <Facts
          of={[
            ["Action", event.action],
            ["Actor", `${event.actor_kind} ${event.actor_name} (${event.actor_id})`],
            ["Resource", `${event.resource_kind} ${event.resource_id}`],
            ["Request", event.request_id],
            ["Hash", event.hash],
          ]}
        />
        <Json
          of={{ before: event.before, after: event.after, context: event.context }}
          label="Before, after and context"
        />
      </Stack>
    </Panel>
  );
}
