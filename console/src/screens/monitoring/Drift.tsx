import { Group, Select, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { answer, api } from "../../api/client";
import { CALM, LIVE } from "../../api/live";
import type { Schemas } from "../../api/types";
import { ActButton } from "../../parts/ask";
import { Chart } from "../../parts/chart";
import { Facts } from "../../parts/facts";
import { number, percent } from "../../parts/figures";
import { Panel } from "../../parts/page";
import { Empty, Loaded } from "../../parts/states";
import { Status } from "../../parts/status";
import { Table } from "../../parts/table";
import { When } from "../../parts/when";

type Check = Schemas["DriftCheck"];
type Feature = Schemas["FeatureDrift"];

/** The checks of one endpoint, and the report of one of them. */
export function Drift({ team, id }: { team: string; id: string }) {
  const [asked, setAsked] = useState<string | null>(null);
  const path = { deployment_id: id };
  const checks = useQuery({
    queryKey: [team, "deployments", id, "drift"],
    queryFn: () =>
      answer(
        api.GET("/api/v1/deployments/{deployment_id}/drift/checks", {
          params: { path, query: { limit: 50 } },
        }),
      ),
    refetchInterval: ({ state }) => (state.data?.items.some(moves) ? LIVE : CALM),
  });
  const chosen = asked ?? checks.data?.items.find((check) => check.status === "succeeded")?.check_id ?? null;
  return (
    <Panel
      title="Drift"
      actions={
        <Group gap="xs">
          {checks.data && checks.data.items.length > 0 && (
            <Select
              aria-label="Which check"
              size="xs"
              w={250}
              data={checks.data.items.map((check) => ({ value: check.check_id, label: nameOf(check) }))}
              value={chosen}
              onChange={setAsked}
              allowDeselect={false}
            />
          )}
          <ActButton
            needs="deploy_staging"
            done="The check was started"
            act={() =>
              answer(api.POST("/api/v1/deployments/{deployment_id}/drift/check", { params: { path } }))
            }
          >
            Check now
          </ActButton>
        </Group>
      }
    >
      <Loaded query={checks}>
        {({ items }) =>
          items.length === 0 ? (
            <Empty title="Not checked yet">
              A check compares the logged predictions with what the model was made from.
            </Empty>
          ) : chosen ? (
            <Report team={team} id={id} check={chosen} />
          ) : (
            <Text size="sm">
              The newest check: <Status of={items[0]?.status ?? "queued"} /> {items[0]?.reason}
            </Text>
          )
        }
      </Loaded>
    </Panel>
  );
}

function moves(check: { status: string }): boolean {
  return check.status === "queued" || check.status === "running";
}

function nameOf(check: Schemas["DriftCheckSummary"]): string {
  const at = check.created_at.slice(0, 16).replace("T", " ");
  return `${at} · ${(check.verdict ?? check.status).replaceAll("_", " ")}`;
}

function Report({ team, id, check }: { team: string; id: string; check: string }) {
  const query = useQuery({
    queryKey: [team, "deployments", id, "drift", check],
    queryFn: () =>
      answer(
        api.GET("/api/v1/deployments/{deployment_id}/drift/checks/{check_id}", {
          params: { path: { deployment_id: id, check_id: check } },
        }),
      ),
  });
  return <Loaded query={query}>{(report) => <Findings report={report} />}</Loaded>;
}

function Findings({ report }: { report: Check }) {
  const [picked, setPicked] = useState<string | null>(null);
  const features = useMemo(
    () => [...report.features].sort((a, b) => (b.psi ?? -1) - (a.psi ?? -1)),
    [report],
  );
  const feature = features.find((each) => each.name === picked) ?? features[0];
  return (
    <Stack gap="md">
      <Facts
        of={[
          ["Verdict", <Status key="verdict" of={report.verdict ?? report.status} />],
          ["Model", report.model_name && `${report.model_name}/${report.model_version}`],
          ["Rows", `${number(report.rows)} in the window, ${number(report.reference_rows)} in the reference`],
          ["Window", <Window key="window" report={report} />],
          ["Data quality", percent(report.data_quality_score)],
          ["Retraining", report.retraining?.reason],
          ["Notes", report.notes.join("; ") || undefined],
        ]}
      />
      {feature && <Distribution feature={feature} />}
      <Table
        label="Drift by feature"
        rows={features}
        id={(each) => each.name}
        columns={[
          {
            name: "Feature",
            by: (each) => each.name,
            cell: (each) => (
              <button
                type="button"
                className="as-link"
                aria-pressed={each === feature}
                onClick={() => setPicked(each.name)}
              >
                {each.name}
              </button>
            ),
          },
          { name: "Verdict", cell: (each) => <Status of={each.verdict} />, by: (each) => each.verdict },
          { name: "PSI", number: true, cell: (each) => number(each.psi), by: (each) => each.psi },
          {
            name: "JS distance",
            number: true,
            cell: (each) => number(each.js_distance),
            by: (each) => each.js_distance,
          },
          {
            name: "KL",
            number: true,
            cell: (each) => number(each.kl_divergence),
            by: (each) => each.kl_divergence,
          },
          {
            name: "KL p",
            number: true,
            cell: (each) => number(each.kl_p_value),
            by: (each) => each.kl_p_value,
          },
          {
            name: "Missing",
            number: true,
            cell: (each) => percent(each.missing_share),
            by: (each) => each.missing_share,
          },
          { name: "Because", cell: (each) => each.reasons.join("; ") },
        ]}
      />
    </Stack>
  );
}

function Window({ report }: { report: Check }) {
  return (
    <>
      <When at={report.window_start} /> to <When at={report.window_end} />
    </>
  );
}

/** One feature's values in the reference and now, side by side. */
function Distribution({ feature }: { feature: Feature }) {
  const { distribution } = feature;
  const option = useMemo(
    () => ({
      xAxis: { type: "category", data: distribution?.bins ?? [], axisLabel: { hideOverlap: true } },
      yAxis: { type: "value", axisLabel: { formatter: (share: number) => percent(share, 0) } },
      series: [
        { name: "Reference", type: "bar", data: distribution?.reference ?? [] },
        { name: "Current", type: "bar", data: distribution?.current ?? [] },
      ],
    }),
    [distribution],
  );
  if (!distribution) return null;
  return (
    <div>
      <Text fw={600} size="sm">
        {feature.name}, share of the rows
      </Text>
      <Chart
        label={`${feature.name}: share of the rows by value, in the reference and now`}
        option={option}
        figures={{
          columns: ["Value", "Reference", "Current"],
          rows: distribution.bins.map((bin, at) => [
            bin,
            percent(distribution.reference[at]),
            percent(distribution.current[at]),
          ]),
        }}
      />
    </div>
  );
}
