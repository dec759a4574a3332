/** How good the version is: what its gate found on the rows that were held out, and every metric. */

import { List, Stack, Text } from "@mantine/core";
import type { Schemas } from "../../api/types";
import { number } from "../../parts/figures";
import { Panel } from "../../parts/page";
import { Empty } from "../../parts/states";
import { Status } from "../../parts/status";
import { Table } from "../../parts/table";
import { When } from "../../parts/when";
import { lowerIsBetter } from "./metrics";

export function Evidence({ of }: { of: Schemas["ModelVersion"] }) {
  const others = Object.entries(of.metrics).sort(([a], [b]) => a.localeCompare(b));
  return (
    <>
      <Panel title="Gate">{of.gate ? <Gate of={of.gate} /> : <NoGate />}</Panel>
      <Panel title="Metrics" flush>
        <Table
          label="Metrics"
          rows={others}
          id={([metric]) => metric}
          empty={<Empty title="No metric">Its run logged none, and no gate measured any.</Empty>}
          columns={[
            { name: "Metric", cell: ([metric]) => metric, by: ([metric]) => metric },
            { name: "Value", number: true, cell: ([, value]) => number(value, 4), by: ([, value]) => value },
          ]}
        />
      </Panel>
    </>
  );
}

function Gate({ of }: { of: Schemas["GateResult"] }) {
  const bound = of.metric && lowerIsBetter(of.metric) ? "at most" : "at least";
  const measured = of.metric !== null && of.metric !== undefined;
  return (
    <Stack gap="xs">
      <Text size="sm" component="div">
        <Status of={of.passed ? "passed" : "failed"} />
      </Text>
      {measured && (
        <Text size="sm">
          <span className="number-big">{number(of.value, 4)}</span> {of.metric}; {bound}{" "}
          {number(of.threshold, 4)} was asked
          {of.rows ? `, on ${number(of.rows)} rows` : ""}
          {of.champion_value !== null && of.champion_value !== undefined
            ? `; the champion ${of.champion_model_id} reaches ${number(of.champion_value, 4)} on the same rows`
            : ""}
        </Text>
      )}
      {of.reasons.length > 0 && (
        <List size="sm" spacing={2}>
          {of.reasons.map((reason) => (
            <List.Item key={reason}>{reason}</List.Item>
          ))}
        </List>
      )}
      {of.checked_at && (
        <Text size="sm" c="dimmed" component="div">
          Checked <When at={of.checked_at} />
        </Text>
      )}
    </Stack>
  );
}

function NoGate() {
  return (
    <Text size="sm">
      It was registered by hand, without a gate: nobody but its run says how good it is. Whoever approves it
      sees that.
    </Text>
  );
}
