/** What people do with a deployment. The platform decides; each button says what will happen. */

import { answer, api } from "../../api/client";
import { ActButton } from "../../parts/ask";
import { changing, type Deployment } from "./api";

/** While a canary runs: take it, hold it, or let it go on. */
export function CanaryActions({
  of,
}: {
  of: Pick<Deployment, "deployment_id" | "environment" | "rollout_paused" | "rollout_model_id">;
}) {
  const params = { path: { deployment_id: of.deployment_id } };
  const needs = changing(of.environment);
  return (
    <>
      {of.rollout_paused ? (
        <ActButton
          needs={needs}
          done="The canary goes on"
          act={() => answer(api.POST("/api/v1/deployments/{deployment_id}/resume", { params }))}
        >
          Resume
        </ActButton>
      ) : (
        <ActButton
          needs={needs}
          done="The canary is held where it is"
          act={() => answer(api.POST("/api/v1/deployments/{deployment_id}/pause", { params }))}
        >
          Pause
        </ActButton>
      )}
      <ActButton
        needs={needs}
        variant="filled"
        done="All traffic goes to the new revision"
        confirm={{
          title: "Promote now?",
          text: `${of.rollout_model_id ?? "The new revision"} gets all traffic at once, before its canary has shown that it may. What serves now stays warm to go back to.`,
        }}
        act={() => answer(api.POST("/api/v1/deployments/{deployment_id}/promote", { params }))}
      >
        Promote
      </ActButton>
    </>
  );
}

export function Actions({ of }: { of: Deployment }) {
  const params = { path: { deployment_id: of.deployment_id } };
  const needs = changing(of.environment);
  const standby = of.revisions.find((revision) => revision.status === "standby");
  const canary = of.rollout_status === "canary";
  const target = canary ? of.serving_model_id : standby && `${standby.model_name}/${standby.model_version}`;
  return (
    <>
      {canary && <CanaryActions of={of} />}
      {(canary || standby) && (
        <ActButton
          needs={needs}
          done="Traffic is back where it was"
          confirm={{
            title: "Roll back?",
            text: `All traffic goes to ${target ?? "what served before"} within a second: it is still warm. ${canary ? "The canary ends." : ""}`,
          }}
          act={() => answer(api.POST("/api/v1/deployments/{deployment_id}/rollback", { params }))}
        >
          Roll back
        </ActButton>
      )}
      {of.status !== "retired" && (
        <ActButton
          needs={needs}
          color="red"
          variant="outline"
          done="The endpoint is retired"
          confirm={{
            title: "Retire this endpoint?",
            text: `Nothing answers at ${of.environment}/${of.name} from then on, and its callers get errors. Deploying to the same name takes it up again.`,
          }}
          act={() => answer(api.POST("/api/v1/deployments/{deployment_id}/retire", { params }))}
        >
          Retire
        </ActButton>
      )}
    </>
  );
}
