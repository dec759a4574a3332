/** What was found of personal data, and what people say of it. */

import { Select, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { answer, api } from "../../api/client";
import type { Schemas } from "../../api/types";
import { percent } from "../../parts/figures";
import { FormButton } from "../../parts/form";
import { Panel } from "../../parts/page";
import { Reason } from "../../parts/reason";
import { Empty, Loaded } from "../../parts/states";
import { Status, type Tone } from "../../parts/status";
import { Table } from "../../parts/table";

type Finding = Schemas["PersonalDataFinding"];

const TONES: Record<Finding["status"], Tone> = { found: "warn", tagged: "warn", wrong: "quiet" };
const WORDS: Record<Finding["status"], string> = { found: "found", tagged: "confirmed", wrong: "is none" };

export function PersonalData({ team, name, version }: { team: string; name: string; version: number }) {
  const query = useQuery({
    queryKey: [team, "datasets", name, "personal-data", version],
    queryFn: () =>
      answer(
        api.GET("/api/v1/datasets/{name}/personal-data", { params: { path: { name }, query: { version } } }),
      ),
  });
  return (
    <Panel title="Personal data" flush>
      <Loaded query={query}>
        {(report) => (
          <>
            {!report.complete && (
              <Text size="sm" px="md">
                Not every column was looked at in the time there is; what is not listed may still be there.
              </Text>
            )}
            <Table
              label="Personal data"
              rows={report.findings}
              id={(finding) => `${finding.column} ${finding.kind}`}
              empty={
                <Empty title="None was found">
                  Up to {report.sampled_rows.toLocaleString("en-GB")} values of each column were looked at.
                  One that you know of is marked with: mlops datasets mark {name} COLUMN
                </Empty>
              }
              columns={[
                { name: "Column", cell: (each) => each.column, by: (each) => each.column },
                { name: "Holds", cell: (each) => each.kind.replaceAll("_", " ") },
                { name: "Group", cell: (each) => each.group },
                {
                  name: "State",
                  cell: (each) => (
                    <Status of={each.status} tone={TONES[each.status]}>
                      {WORDS[each.status]}
                    </Status>
                  ),
                },
                {
                  name: "By",
                  cell: (each) =>
                    each.marked_by ?? (each.found_by === "both" ? "name and values" : each.found_by),
                },
                {
                  name: "Sure",
                  number: true,
                  cell: (each) => percent(each.confidence, 0),
                  by: (each) => each.confidence,
                },
                { name: "Of the values", number: true, cell: (each) => percent(each.share) },
                { name: "Why", cell: (each) => each.reason ?? each.detail ?? "" },
                { name: "Judge", cell: (each) => <Judge name={name} version={version} of={each} /> },
              ]}
            />
          </>
        )}
      </Loaded>
    </Panel>
  );
}

type Verdict = Schemas["PersonalDataVerdict"];

function Judge({ name, version, of }: { name: string; version: number; of: Finding }) {
  const [verdict, setVerdict] = useState<Verdict>("personal");
  const [reason, setReason] = useState("");
  return (
    <FormButton
      label="Judge"
      aria-label={`Judge ${of.kind.replaceAll("_", " ")} in ${of.column}`}
      title={`${of.kind.replaceAll("_", " ")} in ${of.column}`}
      needs="write_data"
      verb="Put on record"
      size="compact-xs"
      ready={reason.trim() !== ""}
      begin={() => {
        setVerdict(of.status === "tagged" ? "wrong" : "personal");
        setReason("");
      }}
      done={`Your word on ${of.column} is on record`}
      send={() =>
        answer(
          api.PUT("/api/v1/datasets/{name}/personal-data", {
            params: { path: { name } },
            body: { column: of.column, kind: of.kind, verdict, reason: reason.trim(), version },
          }),
        )
      }
    >
      <Select
        label="What is it?"
        data={[
          { value: "personal", label: "It is personal data" },
          { value: "wrong", label: "It is none: the finding is wrong" },
          { value: "as_found", label: "Take back what was said" },
        ]}
        allowDeselect={false}
        value={verdict}
        onChange={(value) => setVerdict((value ?? "personal") as Verdict)}
      />
      <Reason value={reason} set={setReason} />
    </FormButton>
  );
}
