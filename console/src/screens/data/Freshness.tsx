import type { Schemas } from "../../api/types";
import { roughly } from "../../parts/figures";
import { Status } from "../../parts/status";
import { When } from "../../parts/when";

/** When what is online was last written, and whether that is longer ago than values live. */
export function Freshness({ of }: { of: Schemas["FeatureView"] }) {
  if (!of.materialized_at) return <Status of="nothing online yet" tone="warn" />;
  const age = (Date.now() - Date.parse(of.materialized_at)) / 1000;
  const old = of.ttl_seconds !== null && age > of.ttl_seconds;
  return (
    <Status of={old ? "old" : "written"} tone={old ? "warn" : "good"}>
      written <When at={of.materialized_at} />
      {old && of.ttl_seconds !== null && `, and values live ${roughly(of.ttl_seconds)}`}
    </Status>
  );
}
