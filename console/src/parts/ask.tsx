/** Actions: whoever lacks the permission sees why, and what changes much is asked for once more. */

import { Button, type ButtonProps, Group, Modal, Stack, Text, Textarea, Tooltip } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useMay } from "../api/me";
import type { Permission } from "../api/types";
import { Failed } from "./states";

interface Act extends ButtonProps {
  children: React.ReactNode;
  /** Without it the button is there, does nothing, and says why. */
  needs?: Permission;
  act: (reason: string) => Promise<unknown>;
  /** Said when it was done. */
  done: string;
  /** Asked before it is done. */
  confirm?: { title: string; text: React.ReactNode };
  /** A reason must (or may) be given; it goes into the audit log. */
  reason?: "required" | "optional";
  /** The longest reason that is taken. */
  longest?: number;
  /** Why it cannot be done now, whatever somebody may do. */
  barred?: string;
}

export function ActButton({
  children,
  needs,
  act,
  done,
  confirm,
  reason,
  longest = 2000,
  barred,
  ...button
}: Act) {
  const may = useMay(needs);
  const client = useQueryClient();
  const [open, setOpen] = useState(false);
  const [text, setText] = useState("");
  const mutation = useMutation({
    mutationFn: () => act(text.trim()),
    onSuccess: () => {
      notifications.show({ message: done });
      setOpen(false);
      setText("");
      void client.invalidateQueries();
    },
    onError: (error) => {
      if (!confirm && !reason)
        notifications.show({ color: "red", title: "That did not work", message: error.message });
    },
  });
  const ask = confirm || reason;
  const lacking = may ? undefined : `You need the permission ${needs}. A team lead can give it.`;
  const why = lacking ?? barred;
  const title = confirm?.title ?? String(children);
  return (
    <>
      <Tooltip label={why} disabled={!why}>
        <Button
          variant="default"
          {...button}
          aria-disabled={why !== undefined || undefined}
          data-disabled={why !== undefined || undefined}
          loading={mutation.isPending && !ask}
          onClick={() => {
            if (why) return;
            if (ask) {
              mutation.reset();
              setOpen(true);
            } else mutation.mutate();
          }}
        >
          {children}
        </Button>
      </Tooltip>
      <Modal
        opened={open}
        onClose={() => setOpen(false)}
        title={title}
        centered
        closeButtonProps={{ "aria-label": "Close" }}
      >
        <Stack gap="sm">
          {confirm && (
            <Text size="sm" component="div">
              {confirm.text}
            </Text>
          )}
          {reason && (
            <Textarea
              label="Reason"
              description="It stands in the audit log."
              required={reason === "required"}
              autosize
              minRows={2}
              maxLength={longest}
              value={text}
              data-autofocus
              onChange={(event) => setText(event.currentTarget.value)}
            />
          )}
          {mutation.error && <Failed error={mutation.error} />}
          <Group justify="flex-end" gap="xs">
            <Button variant="default" onClick={() => setOpen(false)}>
              Cancel
            </Button>
            <Button
              color={button.color}
              loading={mutation.isPending}
              disabled={reason === "required" && !text.trim()}
              onClick={() => mutation.mutate()}
            >
              {children}
            </Button>
          </Group>
        </Stack>
      </Modal>
    </>
  );
}
