/** How the platform names a version: `churn_v3` or `churn/3`. */

export interface VersionName {
  name: string;
  version: string;
}

export function versionOf(id: string): VersionName {
  const [, name = id, version = ""] = /^(.+?)(?:_v|\/)(\d+)$/.exec(id) ?? [];
  return { name, version };
}
