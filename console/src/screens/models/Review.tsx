/** When a model is to be reviewed next, in a word. */

import type { Schemas } from "../../api/types";
import { Status } from "../../parts/status";
import { When } from "../../parts/when";

export function Review({ of }: { of: Schemas["GovernedModel"] | undefined }) {
  if (!of) return null;
  if (of.retired) return <Status of="retired" tone="quiet" />;
  const next = soonest(of);
  if (!next) return <Status of="none due" tone="quiet" />;
  if (of.overdue)
    return (
      <Status of="overdue">
        due <When at={next} />
      </Status>
    );
  return (
    <Status of="due" tone="good">
      due <When at={next} />
    </Status>
  );
}

/** The first of the two dates. */
export function soonest(of: Schemas["GovernedModel"]): string | null {
  const dates = [of.review_due_at, of.revalidation_due_at].filter((each): each is string => each !== null);
  return dates.sort((a, b) => Date.parse(a) - Date.parse(b))[0] ?? null;
}
