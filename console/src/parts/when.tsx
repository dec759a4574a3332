/** A moment, as how long ago it was; pointing at it shows the time itself. */

import { Tooltip } from "@mantine/core";
import { useSyncExternalStore } from "react";
import { ago, DASH, local } from "./figures";

let now = Date.now();
const watchers = new Set<() => void>();
setInterval(() => {
  now = Date.now();
  for (const tell of watchers) tell();
}, 5_000);

function watch(tell: () => void): () => void {
  watchers.add(tell);
  return () => watchers.delete(tell);
}

export function When({ at }: { at: string | null | undefined }) {
  const current = useSyncExternalStore(watch, () => now);
  if (!at) return <>{DASH}</>;
  return (
    <Tooltip label={`${local(at)} (${at})`} events={{ hover: true, focus: true, touch: true }}>
      <time dateTime={at}>{ago(at, Math.max(current, now))}</time>
    </Tooltip>
  );
}
