/** What the inference server said every few seconds, kept while the console is open: the live charts' short past. */

import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { metrics, type Traffic } from "./api";

const EVERY = 5_000;
const KEPT = 180;

export interface Moment {
  at: number;
  revisions: readonly Traffic[];
}

const known = new Map<string, Moment[]>();

export function useSeries(team: string, id: string): { moments: readonly Moment[]; error: unknown } {
  const key = `${team}/${id}`;
  const [moments, setMoments] = useState<readonly Moment[]>(() => known.get(key) ?? []);
  const { data, dataUpdatedAt, error } = useQuery(metrics(team, id, "30s", EVERY));
  useEffect(() => {
    if (!data) return;
    const before = known.get(key) ?? [];
    if (before.at(-1)?.at === dataUpdatedAt) return;
    const after = [...before, { at: dataUpdatedAt, revisions: data.revisions }].slice(-KEPT);
    known.set(key, after);
    setMoments(after);
  }, [data, dataUpdatedAt, key]);
  return { moments, error };
}
