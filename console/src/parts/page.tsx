/** The frame of each screen: where one is, what it is called, and what can be done with it. */

import { Breadcrumbs, Group, Paper, Stack, Text, Title } from "@mantine/core";
import { useEffect, useRef } from "react";

export function Page({
  title,
  trail,
  about,
  actions,
  children,
}: {
  title: string;
  /** Links to what the page stands in. */
  trail?: React.ReactNode[];
  about?: React.ReactNode;
  actions?: React.ReactNode;
  children: React.ReactNode;
}) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = `${title} · ML Platform`;
    heading.current?.focus({ preventScroll: true }); // a screen reader hears where it has come to
  }, [title]);
  return (
    <Stack gap="md">
      <Group justify="space-between" align="flex-end" gap="sm">
        <Stack gap={2} miw={0}>
          {trail && (
            <Breadcrumbs fz="sm" separatorMargin={6}>
              {trail}
            </Breadcrumbs>
          )}
          <Title order={1} ref={heading} tabIndex={-1} style={{ overflowWrap: "anywhere" }}>
            {title}
          </Title>
          {about && (
            <Text c="dimmed" size="sm" component="div">
              {about}
            </Text>
          )}
        </Stack>
        {actions && <Group gap="xs">{actions}</Group>}
      </Group>
      {children}
    </Stack>
  );
}

/** A titled block on a page. */
export function Panel({
  title,
  actions,
  flush = false,
  children,
}: {
  title?: string;
  actions?: React.ReactNode;
  /** Without padding, for tables. */
  flush?: boolean;
  children: React.ReactNode;
}) {
  return (
    <Paper component="section" aria-label={title} p={0} miw={0}>
      {title && (
        <Group justify="space-between" px="md" pt="sm" pb={flush ? "xs" : 0}>
          <Title order={2}>{title}</Title>
          {actions}
        </Group>
      )}
      {flush ? (
        children
      ) : (
        <Stack p="md" gap="sm">
          {children}
        </Stack>
      )}
    </Paper>
  );
}
