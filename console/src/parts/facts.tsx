/** Names and values, one below the other. */

import { Fragment } from "react";
import { DASH } from "./figures";

export function Facts({ of }: { of: [name: string, value: React.ReactNode][] }) {
  return (
    <dl className="facts">
      {of.map(([name, value]) => (
        <Fragment key={name}>
          <dt>{name}</dt>
          <dd>{value ?? DASH}</dd>
        </Fragment>
      ))}
    </dl>
  );
}

/** Free-form JSON, as it is. Text only: whatever a name or tag holds, it is never markup. */
export function Json({ of, label }: { of: unknown; label: string }) {
  return (
    <section className="json" tabIndex={0} aria-label={label}>
      <pre>{JSON.stringify(of, null, 2)}</pre>
    </section>
  );
}
