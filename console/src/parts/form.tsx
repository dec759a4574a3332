/** A button that opens a form in a window, for whatever needs more than a reason to be said. */

import { Button, type ButtonProps, Group, Modal, Stack, Tooltip } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useMay } from "../api/me";
import type { Permission } from "../api/types";
import { Failed } from "./states";

interface Form<T> extends Omit<ButtonProps, "children"> {
  /** What stands on the button. */
  label: string;
  /** The window's title. */
  title: string;
  needs?: Permission;
  /** What stands on the button that sends, and whether it may be pressed. */
  verb: string;
  ready?: boolean;
  send: () => Promise<T>;
  done: string;
  sent?: (answered: T) => void;
  /** Called when the window opens: the fields start from what is there now. */
  begin?: () => void;
  wide?: boolean;
  children: React.ReactNode;
}

export function FormButton<T>(props: Form<T>) {
  const { label, title, needs, verb, ready, send, done, sent, begin, wide, children, ...button } = props;
  const may = useMay(needs);
  const client = useQueryClient();
  const [open, setOpen] = useState(false);
  const close = () => setOpen(false);
  const mutation = useMutation({
    mutationFn: send,
    onSuccess: async (answered) => {
      notifications.show({ message: done });
      close();
      await client.invalidateQueries();
      sent?.(answered);
    },
  });
  const start = () => {
    if (!may) return;
    mutation.reset();
    begin?.();
    setOpen(true);
  };
  return (
    <>
      <Tooltip label={`You need the permission ${needs}. A team lead can give it.`} disabled={may}>
        <Button
          variant="default"
          {...button}
          aria-disabled={!may || undefined}
          data-disabled={!may || undefined}
          onClick={start}
        >
          {label}
        </Button>
      </Tooltip>
      <Modal
        opened={open}
        onClose={close}
        title={title}
        size={wide ? "xl" : "md"}
        centered
        closeButtonProps={{ "aria-label": "Close" }}
      >
        <form
          onSubmit={(event) => {
            event.preventDefault();
            mutation.mutate();
          }}
        >
          <Stack gap="sm">
            {children}
            {mutation.error && <Failed error={mutation.error} />}
            <Group justify="flex-end" gap="xs">
              <Button variant="default" onClick={close}>
                Cancel
              </Button>
              <Button type="submit" loading={mutation.isPending} disabled={ready === false}>
                {verb}
              </Button>
            </Group>
          </Stack>
        </form>
      </Modal>
    </>
  );
}
