/** One endpoint: what serves, how it does, its rollouts, a prediction to try, and its past. */

import "./deployments.css";

import { Group, Tabs } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { lazyRouteComponent, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { Suspense } from "react";
import { Link, useTeam } from "../../parts/link";
import { Page } from "../../parts/page";
import { Loaded, Loading } from "../../parts/states";
import { Actions } from "./Actions";
import { type Deployment as Data, deployment } from "./api";
import { State } from "./Deployments";
import { Overview } from "./Overview";
import { Rollouts } from "./Rollouts";

const TryIt = lazyRouteComponent(() => import("./try/TryIt"), "TryIt");
const AsOf = lazyRouteComponent(() => import("./AsOf"), "AsOf");
const Watch = lazyRouteComponent(() => import("./Watch"), "Watch");

const TABS: [string, string][] = [
  ["overview", "Overview"],
  ["try", "Try it"],
  ["rollouts", "Rollouts"],
  ["drift", "Drift"],
  ["as-of", "As of"],
];

export function Deployment() {
  const team = useTeam();
  const { deployment: id = "" } = useParams({ strict: false });
  const query = useQuery(deployment(team, id));
  return (
    <Loaded query={query} lines={8}>
      {(found) => <OneDeployment team={team} found={found} />}
    </Loaded>
  );
}

function OneDeployment({ team, found }: { team: string; found: Data }) {
  const { tab: asked } = useSearch({ strict: false }) as { tab?: string };
  const navigate = useNavigate();
  const tab = TABS.some(([name]) => name === asked) ? (asked ?? "overview") : "overview";
  const go = (name: string | null) =>
    navigate({
      to: "/$team/deployments/$deployment",
      params: { team, deployment: found.deployment_id },
      search: name && name !== "overview" ? { tab: name } : {},
      replace: true,
    });
  return (
    <Page
      title={`${found.environment}/${found.name}`}
      trail={[
        <Link key="all" to="/$team/deployments" params={{ team }}>
          Deployments
        </Link>,
      ]}
      about={
        <Group gap="sm">
          <State of={found} />
          <span>serves {found.serving_model_id ?? "nothing yet"}</span>
          {found.active_rollout_id && (
            <Link to="/$team/rollouts/$rollout" params={{ team, rollout: found.active_rollout_id }}>
              {found.rollout_model_id} is on its way
            </Link>
          )}
        </Group>
      }
      actions={<Actions of={found} />}
    >
      <Tabs value={tab} onChange={go} keepMounted={false} activateTabWithKeyboard={false}>
        <Tabs.List mb="md">
          {TABS.map(([name, label]) => (
            <Tabs.Tab key={name} value={name}>
              {label}
            </Tabs.Tab>
          ))}
        </Tabs.List>
        <Suspense fallback={<Loading lines={6} />}>
          <Tabs.Panel value="overview">
            <Overview team={team} found={found} />
          </Tabs.Panel>
          <Tabs.Panel value="try">
            <TryIt team={team} found={found} />
          </Tabs.Panel>
          <Tabs.Panel value="rollouts">
            <Rollouts team={team} id={found.deployment_id} />
          </Tabs.Panel>
          <Tabs.Panel value="drift">
            <Watch team={team} id={found.deployment_id} />
          </Tabs.Panel>
          <Tabs.Panel value="as-of">
            <AsOf team={team} found={found} />
          </Tabs.Panel>
        </Suspense>
      </Tabs>
    </Page>
  );
}
