/** Where one can go from anywhere: the navigation and the command palette are made of this. */

import {
  IconActivityHeartbeat,
  IconChecklist,
  IconCloudUp,
  IconCube,
  IconDatabase,
  IconFlask,
  IconGauge,
  IconListSearch,
  IconTable,
  IconTerminal2,
  IconUsers,
} from "@tabler/icons-react";

type Address =
  | "/$team"
  | "/$team/models"
  | "/$team/deployments"
  | "/$team/approvals"
  | "/$team/monitoring"
  | "/$team/experiments"
  | "/$team/jobs"
  | "/$team/datasets"
  | "/$team/features"
  | "/$team/audit"
  | "/$team/settings";

export interface Place {
  name: string;
  to: Address;
  icon: typeof IconGauge;
  about: string;
}

export const PLACES: Place[] = [
  { name: "Home", to: "/$team", icon: IconGauge, about: "Health, what waits for you, traffic" },
  { name: "Models", to: "/$team/models", icon: IconCube, about: "Catalogue, versions, cards, risk" },
  { name: "Deployments", to: "/$team/deployments", icon: IconCloudUp, about: "Endpoints, rollouts, traffic" },
  { name: "Approvals", to: "/$team/approvals", icon: IconChecklist, about: "What waits for a decision" },
  {
    name: "Monitoring",
    to: "/$team/monitoring",
    icon: IconActivityHeartbeat,
    about: "Drift, quality, alerts",
  },
  { name: "Experiments", to: "/$team/experiments", icon: IconFlask, about: "Runs and their metrics" },
  { name: "Jobs", to: "/$team/jobs", icon: IconTerminal2, about: "Training jobs and their logs" },
  { name: "Datasets", to: "/$team/datasets", icon: IconTable, about: "Versions, schemas, profiles" },
  { name: "Features", to: "/$team/features", icon: IconDatabase, about: "Feature views and their freshness" },
  {
    name: "Audit",
    to: "/$team/audit",
    icon: IconListSearch,
    about: "Who did what, and whether it is intact",
  },
  { name: "Team", to: "/$team/settings", icon: IconUsers, about: "Members, keys, quotas, policies" },
];
