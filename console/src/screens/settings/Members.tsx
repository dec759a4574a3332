import { Button, Group, Modal, MultiSelect, Stack, Text, TextInput } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { answer, api } from "../../api/client";
import { useMay } from "../../api/me";
import { usePages } from "../../api/pages";
import type { Schemas } from "../../api/types";
import { Panel } from "../../parts/page";
import { Failed } from "../../parts/states";
import { PagedTable } from "../../parts/table";

type Role = Schemas["Role"];

const ROLES: Role[] = [
  "viewer",
  "data_scientist",
  "senior_data_scientist",
  "ml_engineer",
  "ml_architect",
  "team_lead",
  "manager",
  "product_owner",
  "legal",
  "security",
  "board_chair",
  "approver",
  "auditor",
  "prediction_client",
];

const words = (role: string) => role.replaceAll("_", " ");

/** Who is in the team, and what each may do. */
export function Members({ team }: { team: string }) {
  const may = useMay("manage_team");
  const [editing, setEditing] = useState<{ user: string; roles: Role[] } | null>(null);
  const pages = usePages([team, "members"], (cursor) =>
    answer(
      api.GET("/api/v1/teams/{team}/members", { params: { path: { team }, query: { limit: 200, cursor } } }),
    ),
  );
  return (
    <Panel
      title="Members"
      flush
      actions={
        may && (
          <Button variant="default" onClick={() => setEditing({ user: "", roles: ["viewer"] })}>
            Add a member
          </Button>
        )
      }
    >
      <PagedTable
        label="Members"
        pages={pages}
        id={(member) => member.user_id}
        columns={[
          {
            name: "User",
            cell: (member) =>
              may ? (
                <button
                  type="button"
                  className="as-link"
                  aria-label={`Change the roles of ${member.user_name}`}
                  onClick={() => setEditing({ user: member.user_name, roles: member.roles })}
                >
                  {member.user_name}
                </button>
              ) : (
                member.user_name
              ),
          },
          { name: "Roles", cell: (member) => member.roles.map(words).join(", ") },
        ]}
      />
      {editing && <Editor team={team} start={editing} close={() => setEditing(null)} />}
    </Panel>
  );
}

function Editor({
  team,
  start,
  close,
}: {
  team: string;
  start: { user: string; roles: Role[] };
  close: () => void;
}) {
  const client = useQueryClient();
  const [user, setUser] = useState(start.user);
  const [roles, setRoles] = useState<Role[]>(start.roles);
  const save = useMutation({
    mutationFn: () =>
      answer(
        api.PUT("/api/v1/teams/{team}/members/{user}", { params: { path: { team, user } }, body: { roles } }),
      ),
    onSuccess: async () => {
      await client.invalidateQueries({ queryKey: [team] });
      close();
    },
  });
  return (
    <Modal
      opened
      onClose={close}
      title={start.user || "Add a member"}
      centered
      closeButtonProps={{ "aria-label": "Close" }}
    >
      <form
        onSubmit={(event) => {
          event.preventDefault();
          save.mutate();
        }}
      >
        <Stack gap="sm">
          {!start.user && (
            <TextInput
              label="User"
              description="Users are made by an administrator: mlops users create"
              required
              data-autofocus
              value={user}
              onChange={(event) => setUser(event.currentTarget.value.trim())}
            />
          )}
          <MultiSelect
            label="Roles"
            data={ROLES.map((role) => ({ value: role, label: words(role) }))}
            value={roles}
            onChange={(value) => setRoles(value as Role[])}
          />
          {roles.length === 0 && <Text size="sm">Without a role {user || "the user"} leaves the team.</Text>}
          {save.error && <Failed error={save.error} />}
          <Group justify="flex-end">
            <Button variant="default" onClick={close}>
              Cancel
            </Button>
            <Button type="submit" loading={save.isPending} disabled={!user}>
              Save
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}
