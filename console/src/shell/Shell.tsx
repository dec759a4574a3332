/** The frame of a team's screens: navigation, the team, the palette, and who is signed in. */

import {
  ActionIcon,
  Alert,
  AppShell,
  Avatar,
  Burger,
  Group,
  Kbd,
  Menu,
  NavLink,
  Select,
  Text,
  Tooltip,
  UnstyledButton,
  useMantineColorScheme,
  VisuallyHidden,
} from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { spotlight } from "@mantine/spotlight";
import { IconLogout, IconMoonStars, IconSearch, IconSun, IconUser } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { createLink, Outlet, useRouterState } from "@tanstack/react-router";
import { type AnchorHTMLAttributes, forwardRef, useEffect } from "react";
import { me } from "../api/me";
import { useTeam } from "../parts/link";
import { Commands } from "./Commands";
import { PLACES } from "./places";

const NavigationLink = createLink(
  forwardRef<
    HTMLAnchorElement,
    { label: string; icon: React.ReactNode } & Omit<AnchorHTMLAttributes<HTMLAnchorElement>, "onChange">
  >(({ icon, ...props }, ref) => <NavLink ref={ref} component="a" leftSection={icon} {...props} />),
);

export function Shell() {
  const team = useTeam();
  const [open, { toggle, close }] = useDisclosure(false);
  const path = useRouterState({ select: (state) => state.location.pathname });
  // biome-ignore lint/correctness/useExhaustiveDependencies: wherever one goes, the menu of a phone closes
  useEffect(close, [path, close]);
  return (
    <AppShell
      header={{ height: 48 }}
      navbar={{ width: 208, breakpoint: "sm", collapsed: { mobile: !open } }}
      padding="md"
    >
      <a className="skip" href="#content">
        Skip to the content
      </a>
      <AppShell.Header>
        <Group h="100%" px="sm" gap="sm" wrap="nowrap">
          <Burger
            opened={open}
            onClick={toggle}
            hiddenFrom="sm"
            size="sm"
            aria-label="Navigation"
            aria-expanded={open}
          />
          <Text fw={650} visibleFrom="sm" w={172}>
            ML Platform
          </Text>
          <TeamSwitch team={team} />
          <Find />
          <Scheme />
          <Person team={team} />
        </Group>
      </AppShell.Header>
      <AppShell.Navbar p="xs" aria-label="Main">
        {PLACES.map(({ name, to, icon: Icon }) => (
          <NavigationLink
            key={name}
            to={to}
            params={{ team }}
            label={name}
            icon={<Icon size={16} aria-hidden />}
            activeOptions={{ exact: to === "/$team" }}
            activeProps={{ "data-active": true, "aria-current": "page" } as object}
          />
        ))}
      </AppShell.Navbar>
      <AppShell.Main id="content" tabIndex={-1}>
        <Away team={team} />
        <Outlet />
      </AppShell.Main>
      <Commands team={team} />
    </AppShell>
  );
}

/** What is on the page stays readable while the platform is away, and says that it may be old. */
function Away({ team }: { team: string }) {
  const { error, data } = useQuery({ ...me(team), refetchInterval: 30_000 });
  if (!error || !data) return null;
  return (
    <Alert color="yellow" variant="outline" mb="md" role="status" title={error.message}>
      What this page shows may be old.
    </Alert>
  );
}

function TeamSwitch({ team }: { team: string }) {
  const { data } = useQuery(me(team));
  const teams = Object.keys(data?.teams ?? {});
  if (!teams.includes(team)) teams.push(team);
  return (
    <Select
      aria-label="Team"
      data={teams.sort()}
      value={team}
      size="xs"
      w={150}
      allowDeselect={false}
      searchable={teams.length > 8}
      onChange={(name) => name && window.location.assign(`/console/${encodeURIComponent(name)}`)}
    />
  );
}

function Find() {
  return (
    <UnstyledButton
      onClick={spotlight.open}
      className="rounded"
      px="sm"
      py={4}
      ml="auto"
      aria-keyshortcuts="Control+K Meta+K"
    >
      <Group gap={8} wrap="nowrap">
        <IconSearch size={14} aria-hidden />
        <VisuallyHidden hiddenFrom="sm">Find or do</VisuallyHidden>
        <Text size="xs" c="dimmed" visibleFrom="sm">
          Find or do
        </Text>
        <Group visibleFrom="sm">
          <Kbd size="xs">Ctrl K</Kbd>
        </Group>
      </Group>
    </UnstyledButton>
  );
}

function Scheme() {
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  const dark =
    colorScheme === "dark" ||
    (colorScheme === "auto" && window.matchMedia("(prefers-color-scheme: dark)").matches);
  return (
    <Tooltip label={dark ? "Light colours" : "Dark colours"}>
      <ActionIcon
        variant="default"
        aria-label={dark ? "Light colours" : "Dark colours"}
        onClick={() => setColorScheme(dark ? "light" : "dark")}
      >
        {dark ? <IconSun size={15} /> : <IconMoonStars size={15} />}
      </ActionIcon>
    </Tooltip>
  );
}

function Person({ team }: { team: string }) {
  const { data } = useQuery(me(team));
  const name = data?.name ?? "";
  return (
    <Menu width={240} position="bottom-end">
      <Menu.Target>
        <UnstyledButton aria-label={`Signed in as ${name}`}>
          <Avatar size={28} radius="xl" color="indigo" variant="filled">
            <IconUser size={16} aria-hidden />
          </Avatar>
        </UnstyledButton>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label c="dimmed">
          {name}
          {data?.admin ? " · administrator" : ""}
          <br />
          {(data?.teams[team] ?? []).map((role) => role.replaceAll("_", " ")).join(", ")}
        </Menu.Label>
        <Menu.Item leftSection={<IconLogout size={14} aria-hidden />} onClick={signOut}>
          Sign out
        </Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}

async function signOut(): Promise<void> {
  try {
    await fetch("/logout", { method: "POST", headers: { "x-mlops-csrf": "1" } });
  } finally {
    window.location.assign("/console/");
  }
}
