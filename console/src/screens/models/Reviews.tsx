import { Select, Textarea, TextInput } from "@mantine/core";
import { useState } from "react";
import { answer, api } from "../../api/client";
import { usePages } from "../../api/pages";
import type { Schemas } from "../../api/types";
import { number } from "../../parts/figures";
import { FormButton } from "../../parts/form";
import { Panel } from "../../parts/page";
import { Empty } from "../../parts/states";
import { Status } from "../../parts/status";
import { PagedTable } from "../../parts/table";
import { When } from "../../parts/when";

type Verdict = Schemas["ModelReviewVerdict"];

export function Reviews({ team, name }: { team: string; name: string }) {
  const pages = usePages([team, "models", name, "reviews"], (cursor) =>
    answer(
      api.GET("/api/v1/governance/models/{name}/reviews", { params: { path: { name }, query: { cursor } } }),
    ),
  );
  return (
    <Panel title="Reviews" flush actions={<Record name={name} />}>
      <PagedTable
        label="Reviews"
        pages={pages}
        id={(review) => review.review_id}
        empty={
          <Empty title="Not reviewed yet">
            What serves in production is reviewed on a schedule that follows from its risk.
          </Empty>
        }
        columns={[
          {
            name: "Verdict",
            cell: (review) => (
              <Status of={review.verdict} tone={review.verdict === "retire" ? "bad" : undefined} />
            ),
          },
          { name: "Findings", cell: (review) => review.findings },
          { name: "Judged anew", cell: (review) => <Anew of={review.revalidation} /> },
          { name: "By", cell: (review) => review.reviewed_by },
          { name: "When", cell: (review) => <When at={review.reviewed_at} /> },
        ]}
      />
    </Panel>
  );
}

function Anew({ of }: { of: Schemas["Revalidation"] | null }) {
  if (!of) return <>no</>;
  const state = of.passed === null ? "no gate" : of.passed ? "passed" : "failed";
  return (
    <>
      <Status of={state} /> on {number(of.rows)} rows of {of.dataset}: {of.reason}
    </>
  );
}

function Record({ name }: { name: string }) {
  const [verdict, setVerdict] = useState<Verdict>("keep");
  const [findings, setFindings] = useState("");
  const [dataset, setDataset] = useState("");
  return (
    <FormButton
      label="Record a review"
      title={`Review of ${name}`}
      needs="approve"
      verb="Record"
      size="compact-xs"
      ready={findings.trim() !== ""}
      begin={() => setFindings("")}
      done={`The review of ${name} is on record`}
      send={() =>
        answer(
          api.POST("/api/v1/governance/models/{name}/reviews", {
            params: { path: { name } },
            body: { verdict, findings: findings.trim(), dataset: dataset.trim() || null },
          }),
        )
      }
    >
      <Select
        label="Verdict"
        data={[
          { value: "keep", label: "Keep: it stays as it is" },
          { value: "conditions", label: "Conditions: it stays under those that the findings name" },
          { value: "retire", label: "Retire: nothing more of it goes into production" },
        ]}
        allowDeselect={false}
        value={verdict}
        onChange={(value) => setVerdict((value ?? "keep") as Verdict)}
      />
      <Textarea
        label="Findings"
        description="What was looked at, and what was found; kept for ever."
        required
        autosize
        minRows={3}
        maxLength={10_000}
        value={findings}
        onChange={(event) => setFindings(event.currentTarget.value)}
      />
      <TextInput
        label="Judge what serves on these rows"
        description="A dataset with labels, as name or name@version; may stay empty."
        value={dataset}
        onChange={(event) => setDataset(event.currentTarget.value)}
      />
    </FormButton>
  );
}
