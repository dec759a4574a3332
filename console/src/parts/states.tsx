/** What stands where content would: still loading, failed, or nothing there yet. Each says what to do next. */

import { Alert, Button, Code, Skeleton, Stack, Text } from "@mantine/core";
import { IconAlertTriangle } from "@tabler/icons-react";
import type { UseQueryResult } from "@tanstack/react-query";
import { ProblemError } from "../api/problem";

export function Loading({ lines = 4 }: { lines?: number }) {
  return (
    <Stack gap="sm" role="status" aria-label="Loading">
      {Array.from({ length: lines }, (_, line) => `line ${line}`).map((key) => (
        <Skeleton key={key} height={18} radius="sm" />
      ))}
    </Stack>
  );
}

export function Failed({ error, again }: { error: unknown; again?: () => void }) {
  const problem = error instanceof ProblemError ? error : null;
  return (
    <Alert
      role="alert"
      color="red"
      variant="outline"
      icon={<IconAlertTriangle aria-hidden />}
      title={problem?.message ?? "This page has a defect."}
    >
      <Stack gap="xs" align="flex-start">
        {problem?.hint && <Text size="sm">{problem.hint}</Text>}
        {problem?.fields.map((field) => (
          <Text size="sm" key={field.field}>
            <b>{field.field}</b>: {field.message}
          </Text>
        ))}
        {!problem && <Text size="sm">{String(error)}</Text>}
        {problem?.requestId && (
          <Text size="xs" c="dimmed">
            Request <Code>{problem.requestId}</Code>
          </Text>
        )}
        {again && (
          <Button variant="default" onClick={again}>
            Try again
          </Button>
        )}
      </Stack>
    </Alert>
  );
}

export function Empty({ title, children }: { title: string; children?: React.ReactNode }) {
  return (
    <Stack gap={4} p="lg" align="center" ta="center">
      <Text fw={600}>{title}</Text>
      {children && (
        <Text size="sm" c="dimmed" component="div" maw={560}>
          {children}
        </Text>
      )}
    </Stack>
  );
}

/** Content once a query has answered; until then, or when it fails, what stands in its place. */
export function Loaded<T>({
  query,
  lines,
  children,
}: {
  query: UseQueryResult<T>;
  lines?: number;
  children: (data: T) => React.ReactNode;
}) {
  if (query.data !== undefined) return <>{children(query.data)}</>;
  if (query.error) return <Failed error={query.error} again={() => query.refetch()} />;
  return <Loading lines={lines} />;
}
