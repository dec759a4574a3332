import { Code } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { answer, api } from "../../api/client";
import { saved } from "../../api/save";
import type { Schemas } from "../../api/types";
import { ActButton } from "../../parts/ask";
import { Facts } from "../../parts/facts";
import { bytes } from "../../parts/figures";
import { Link } from "../../parts/link";
import { RunLink } from "../../parts/mlflow";
import { Panel } from "../../parts/page";
import { Status } from "../../parts/status";

/** Where the version came from, and what vouches for its files. */
export function Origin({ team, of }: { team: string; of: Schemas["ModelVersion"] }) {
  return (
    <Panel title="Origin">
      <Facts
        of={[
          [
            "Job",
            of.job_id ? (
              <Link key="job" to="/$team/jobs/$job" params={{ team, job: of.job_id }}>
                {of.job_id}
              </Link>
            ) : (
              "registered by hand"
            ),
          ],
          [
            "Experiment",
            of.experiment_id && <ExperimentLink key="experiment" team={team} id={of.experiment_id} />,
          ],
          [
            "Run",
            of.run_id && of.experiment_id && (
              <RunLink key="run" team={team} experiment={of.experiment_id} run={of.run_id} />
            ),
          ],
          [
            "Features",
            of.feature_view && (
              <Link key="view" to="/$team/features/$view" params={{ team, view: of.feature_view }}>
                {of.feature_view}, looked up when predicting
              </Link>
            ),
          ],
          ["Task", of.task],
          ["Label", of.label],
          ["State", <Status key="state" of={of.status.toLowerCase()} />],
          ["Size", bytes(of.size_bytes)],
          ["SHA-256", <Code key="digest">{of.digest}</Code>],
          ["Signed", <Signing key="signed" team={team} name={of.name} version={of.version} />],
        ]}
      />
    </Panel>
  );
}

function ExperimentLink({ team, id }: { team: string; id: string }) {
  return (
    <Link to="/$team/experiments/$experiment" params={{ team, experiment: id }}>
      {id}
    </Link>
  );
}

function Signing({ team, name, version }: { team: string; name: string; version: number }) {
  const { data } = useQuery({
    queryKey: [team, "models", name, "versions", version, "signature"],
    queryFn: () =>
      answer(
        api.GET("/api/v1/models/{name}/versions/{version}/signature", {
          params: { path: { name, version } },
        }),
      ),
    staleTime: Number.POSITIVE_INFINITY,
  });
  if (!data) return null;
  if (!data.bundle) return <Status of="not signed" tone="warn" />;
  return (
    <>
      <Status of="signed" tone="good">
        by this installation's key
      </Status>{" "}
      <ActButton
        size="compact-xs"
        done="The bundle was saved; model_signing verify key checks it"
        act={async () =>
          saved(JSON.stringify(data.bundle), `${name}-${version}.sigstore.json`, "application/json")
        }
      >
        Save the bundle
      </ActButton>
    </>
  );
}
