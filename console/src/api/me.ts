/** Who is signed in, and what they may do in the team that the page is about. */

import { queryOptions, useQuery } from "@tanstack/react-query";
import { useTeam } from "../parts/link";
import { answer, api } from "./client";
import type { Permission } from "./types";

export const me = (team: string) =>
  queryOptions({
    queryKey: [team, "whoami"],
    queryFn: () => answer(api.GET("/api/v1/whoami")),
    staleTime: 60_000,
  });

export function useMay(permission: Permission | undefined): boolean {
  const { data } = useQuery(me(useTeam()));
  return !permission || (data?.permissions.includes(permission) ?? false);
}
