/** A state as a word with a coloured dot: the word says it, the colour only helps. */

export type Tone = "good" | "warn" | "bad" | "busy" | "quiet";

const TONES: Record<string, Tone> = {
  // what is going well, or is over and went well
  active: "good",
  approved: "good",
  passed: "good",
  passes: "good",
  succeeded: "good",
  serving: "good",
  resolved: "good",
  ready: "good",
  ok: "good",
  winner: "good",
  promoted: "good",
  keep: "good",
  measured: "good",
  low: "good",
  approve: "good",
  // what somebody should look at
  pending_approval: "warn",
  pending: "warn",
  waiting: "warn",
  waits: "warn",
  acknowledged: "warn",
  warning: "warn",
  not_enough_data: "quiet",
  conditions: "warn",
  medium: "warn",
  late: "warn",
  overdue: "warn",
  lapsed: "warn",
  none: "good",
  // what went wrong
  failed: "bad",
  rejected: "bad",
  reject: "bad",
  rolled_back: "bad",
  stops: "bad",
  open: "bad",
  critical: "bad",
  timed_out: "bad",
  drift: "bad",
  void: "bad",
  failing: "bad",
  conflict: "bad",
  high: "bad",
  stopped_by_guardrail: "bad",
  // what moves
  running: "busy",
  deploying: "busy",
  canary: "busy",
  submitted: "busy",
  queued: "busy",
  preparing: "busy",
  starting: "busy",
  candidate: "busy",
  trial: "busy",
  shadow: "busy",
  training: "busy",
  runs: "busy",
};

const WORDS: Record<string, string> = { none: "no drift", timed_out: "timed out" };

export function toneOf(status: string): Tone {
  return TONES[status.toLowerCase()] ?? "quiet";
}

export function Status({ of, tone, children }: { of: string; tone?: Tone; children?: React.ReactNode }) {
  return (
    <span className="status" data-tone={tone ?? toneOf(of)}>
      <span className="dot" aria-hidden />
      {children ?? WORDS[of] ?? of.replaceAll("_", " ").toLowerCase()}
    </span>
  );
}
