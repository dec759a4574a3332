/** What stands around everything, also when no team is known: lost addresses and failures. */

import { Anchor, Code, Container, Stack, Text, Title } from "@mantine/core";
import { type ErrorComponentProps, Outlet, useRouter } from "@tanstack/react-router";
import { ProblemError } from "../api/problem";
import { Failed } from "../parts/states";

export function Root() {
  return <Outlet />;
}

export function NotFound() {
  return (
    <Notice title="There is no such page">
      <Text>
        The address may be mistyped, or what it showed is gone.{" "}
        <Anchor href="/console/">Go to the start</Anchor>, or press <Code>Ctrl K</Code> there to find it.
      </Text>
    </Notice>
  );
}

export function Broken({ error }: ErrorComponentProps) {
  const router = useRouter();
  if (error instanceof ProblemError && error.status === 401) return <SignedOut />;
  return (
    <Notice title="This page could not be shown">
      <Failed error={error} again={() => void router.invalidate()} />
    </Notice>
  );
}

/** The session has ended. Only a terminal can open a new one: there is no password to type. */
function SignedOut() {
  return (
    <Notice title="Sign in">
      <Text>
        You are not signed in, or your session has ended. Run <Code>mlops login --web</Code> in a terminal and
        open the link that it prints; it works once. Then come back to this page.
      </Text>
    </Notice>
  );
}

function Notice({ title, children }: { title: string; children: React.ReactNode }) {
  return (
    <Container component="main" size="sm" py="xl">
      <Stack>
        <Title order={1}>{title}</Title>
        {children}
      </Stack>
    </Container>
  );
}
