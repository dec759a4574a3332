/** The nine stages of a rollout: each opens to what it found. */

import "./deployments.css";

import { Stack, Text } from "@mantine/core";
import type { Schemas } from "../../api/types";
import { DASH, span } from "../../parts/figures";
import { Link } from "../../parts/link";
import { Status, type Tone, toneOf } from "../../parts/status";
import { text, words } from "../../parts/unknown";
import { When } from "../../parts/when";
import { gist } from "./evidence/gist";
import { StageEvidence } from "./evidence/StageEvidence";

type Stage = Schemas["RolloutStage"];

const QUIET = new Set(["pending", "cancelled", "skipped"]);

/** A stage to come is no cause for concern; one that waits for people is. */
export function stageTone(status: string): Tone {
  return QUIET.has(status) ? "quiet" : toneOf(status);
}

export function Stages({ team, stages }: { team: string; stages: readonly Stage[] }) {
  return (
    <ol className="stages" aria-label="Stages">
      {stages.map((stage) => (
        <li key={stage.name}>
          <details open={stage.status === "failed" || stage.status === "waiting"}>
            <summary>
              <b>{words(stage.name)}</b>
              <Status of={stage.status} tone={stageTone(stage.status)} />
              <span className="gist">{stage.reason ?? gist(stage.name, stage.evidence) ?? ""}</span>
              <span className="took">
                {stage.started_at ? span(stage.started_at, stage.finished_at) : DASH}
              </span>
            </summary>
            <div className="inside">
              <Inside team={team} stage={stage} />
            </div>
          </details>
        </li>
      ))}
    </ol>
  );
}

function Inside({ team, stage }: { team: string; stage: Stage }) {
  const approval = stage.name === "approval" ? text(stage.evidence.approval_id) : null;
  return (
    <Stack gap="sm">
      <Text size="sm" c="dimmed">
        {stage.started_at ? (
          <>
            began <When at={stage.started_at} />
            {stage.finished_at && (
              <>
                , ended <When at={stage.finished_at} />
              </>
            )}
          </>
        ) : (
          "has not begun"
        )}
      </Text>
      {approval && (
        <Text size="sm">
          <Link to="/$team/approvals/$approval" params={{ team, approval }}>
            Open the approval
          </Link>
        </Text>
      )}
      {Object.keys(stage.evidence).length > 0 && <StageEvidence stage={stage.name} of={stage.evidence} />}
    </Stack>
  );
}

/** The stages at a glance, side by side. */
export function Strip({ stages }: { stages: readonly { name: string; status: string }[] }) {
  return (
    <ol className="strip" aria-label="Stages at a glance">
      {stages.map(({ name, status }) => (
        <li key={name} data-tone={stageTone(status)}>
          {words(name)}
          <br />
          {words(status)}
        </li>
      ))}
    </ol>
  );
}
