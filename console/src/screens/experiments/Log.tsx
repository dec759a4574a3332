/** A job's log, followed by asking for what came since. Whoever scrolls up is left in peace. */

import { Button, Text } from "@mantine/core";
import { useEffect, useLayoutEffect, useRef, useState } from "react";
import { answer, api } from "../../api/client";
import { LIVE } from "../../api/live";
import type { Schemas } from "../../api/types";
import { Panel } from "../../parts/page";
import { Failed } from "../../parts/states";
import { Status } from "../../parts/status";

/** More than this is read in a terminal: mlops jobs logs. */
const MOST = 2_000_000;

interface Read {
  text: string;
  ended: boolean;
  cut: boolean;
  error: unknown;
}

function useLog(job: string): Read {
  const [read, setRead] = useState<Read>({ text: "", ended: false, cut: false, error: null });
  useEffect(() => {
    let stopped = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const ask = async (offset: number) => {
      let pause = LIVE;
      let next = offset;
      try {
        const params = { path: { job_id: job }, query: { offset } };
        const piece = (await answer(api.GET("/api/v1/jobs/{job_id}/logs", { params }))) as Schemas["JobLog"];
        if (stopped) return;
        next = piece.next_offset;
        setRead((before) => added(before, piece.text, piece.eof));
        if (piece.eof) return;
        if (next > offset) pause = 100; // there may be more already
      } catch (error) {
        if (stopped) return;
        setRead((before) => ({ ...before, error }));
        pause = 5 * LIVE;
      }
      timer = setTimeout(() => ask(next), document.hidden ? 5 * LIVE : pause);
    };
    void ask(0);
    return () => {
      stopped = true;
      clearTimeout(timer);
    };
  }, [job]);
  return read;
}

function added(before: Read, piece: string, ended: boolean): Read {
  const text = before.text + piece;
  const cut = before.cut || text.length > MOST;
  return { text: cut ? text.slice(-MOST) : text, ended, cut, error: null };
}

export function Log({ job }: { job: string }) {
  const { text, ended, cut, error } = useLog(job);
  const place = useRef<HTMLDivElement>(null);
  const [follow, setFollow] = useState(true);
  // biome-ignore lint/correctness/useExhaustiveDependencies: it goes down when there is more text
  useLayoutEffect(() => {
    if (follow && place.current) place.current.scrollTop = place.current.scrollHeight;
  }, [text, follow]);
  return (
    <Panel
      title="Log"
      actions={
        <>
          {!follow && (
            <Button variant="default" size="compact-xs" onClick={() => setFollow(true)}>
              Follow it again
            </Button>
          )}
          <Status of={ended ? "complete" : "live"} tone={ended ? "quiet" : "busy"} />
        </>
      }
    >
      {error ? <Failed error={error} /> : null}
      {cut && <Text size="sm">The beginning is left out here; mlops jobs logs {job} writes all of it.</Text>}
      <div
        className="json"
        ref={place}
        role="log"
        aria-label="Log"
        aria-live="off"
        tabIndex={0}
        onScroll={(event) => {
          const { scrollTop, scrollHeight, clientHeight } = event.currentTarget;
          setFollow(scrollHeight - scrollTop - clientHeight < 40);
        }}
      >
        <pre>{text || (ended ? "It wrote nothing." : "Nothing yet.")}</pre>
      </div>
    </Panel>
  );
}
