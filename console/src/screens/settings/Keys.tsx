import { Button, Code, CopyButton, Group, Modal, NumberInput, Stack, Text, TextInput } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { answer, api } from "../../api/client";
import { usePages } from "../../api/pages";
import type { Schemas } from "../../api/types";
import { ActButton } from "../../parts/ask";
import { Panel } from "../../parts/page";
import { Empty, Failed } from "../../parts/states";
import { Status } from "../../parts/status";
import { PagedTable } from "../../parts/table";
import { When } from "../../parts/when";

/** The API keys that one may see: one's own, or with the right to manage the team, everybody's. */
export function Keys({ team }: { team: string }) {
  const [making, setMaking] = useState(false);
  const pages = usePages([team, "keys"], (cursor) =>
    answer(api.GET("/api/v1/keys", { params: { query: { limit: 200, cursor } } })),
  );
  return (
    <Panel
      title="Keys"
      flush
      actions={
        <Button variant="default" onClick={() => setMaking(true)}>
          New key
        </Button>
      }
    >
      <PagedTable
        label="Keys"
        pages={pages}
        id={(key) => key.key_id}
        empty={<Empty title="No key">Programs sign in with a key.</Empty>}
        columns={[
          { name: "Key", cell: (key) => key.name },
          { name: "Of", cell: (key) => key.user_name },
          {
            name: "State",
            cell: (key) => <Status of={stateOf(key)} tone={stateOf(key) === "valid" ? "good" : "quiet"} />,
          },
          { name: "Ends", cell: (key) => (key.expires_at ? <When at={key.expires_at} /> : "never") },
          {
            name: "Revoke",
            cell: (key) =>
              stateOf(key) === "valid" && (
                <ActButton
                  size="compact-xs"
                  color="red"
                  done={`The key ${key.name} was revoked`}
                  confirm={{
                    title: `Revoke ${key.name}`,
                    text: `Whatever uses the key ${key.name} of ${key.user_name} is refused within two seconds. This cannot be undone.`,
                  }}
                  act={() =>
                    answer(api.DELETE("/api/v1/keys/{key_id}", { params: { path: { key_id: key.key_id } } }))
                  }
                >
                  Revoke
                </ActButton>
              ),
          },
        ]}
      />
      {making && <Maker team={team} close={() => setMaking(false)} />}
    </Panel>
  );
}

function stateOf(key: Schemas["Key"]): "valid" | "revoked" | "expired" {
  if (key.revoked_at) return "revoked";
  return key.expires_at && Date.parse(key.expires_at) <= Date.now() ? "expired" : "valid";
}

function Maker({ team, close }: { team: string; close: () => void }) {
  const client = useQueryClient();
  const [name, setName] = useState("");
  const [days, setDays] = useState<number | string>(90);
  const make = useMutation({
    mutationFn: () =>
      answer(
        api.POST("/api/v1/keys", { body: { name, expires_in_days: days === "" ? null : Number(days) } }),
      ),
    gcTime: 0, // the token is nowhere once the window is closed
    onSuccess: () => client.invalidateQueries({ queryKey: [team, "keys"] }),
  });
  return (
    <Modal
      opened
      onClose={close}
      title="New key"
      closeOnClickOutside={!make.data}
      closeOnEscape={!make.data}
      centered
      closeButtonProps={{ "aria-label": "Close" }}
    >
      {make.data ? (
        <Stack gap="sm">
          <Text size="sm">
            This is the only time that the key is shown. Keep it where only your program can read it.
          </Text>
          <Code block>{make.data.token}</Code>
          <Group justify="flex-end">
            <CopyButton value={make.data.token}>
              {({ copied, copy }) => <Button onClick={copy}>{copied ? "Copied" : "Copy"}</Button>}
            </CopyButton>
            <Button variant="default" onClick={close}>
              Done
            </Button>
          </Group>
        </Stack>
      ) : (
        <form
          onSubmit={(event) => {
            event.preventDefault();
            make.mutate();
          }}
        >
          <Stack gap="sm">
            <TextInput
              label="Name"
              description="What will use it"
              required
              data-autofocus
              maxLength={200}
              value={name}
              onChange={(event) => setName(event.currentTarget.value)}
            />
            <NumberInput
              label="Days until it ends"
              description="Empty: it does not end"
              min={1}
              allowDecimal={false}
              max={3650}
              value={days}
              onChange={setDays}
            />
            {make.error && <Failed error={make.error} />}
            <Group justify="flex-end">
              <Button variant="default" onClick={close}>
                Cancel
              </Button>
              <Button type="submit" loading={make.isPending} disabled={!name.trim()}>
                Make the key
              </Button>
            </Group>
          </Stack>
        </form>
      )}
    </Modal>
  );
}
