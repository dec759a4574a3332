import { Link } from "../../parts/link";
import { RunLink } from "../../parts/mlflow";
import { type Node, nameOf } from "./nodes";

/** To the page of the thing itself; what has none leads to its own lineage. */
export function NodeLink({ team, node, children }: { team: string; node: Node; children?: React.ReactNode }) {
  const text = children ?? nameOf(node);
  const [before = "", after = ""] = node.id.split(/[@/]/);
  const details = node.details ?? {};
  switch (node.kind) {
    case "dataset":
      return (
        <Link
          to="/$team/datasets/$name"
          params={{ team, name: before }}
          search={after ? { version: Number(after) } : {}}
        >
          {text}
        </Link>
      );
    case "feature_view":
      return (
        <Link to="/$team/features/$view" params={{ team, view: before }}>
          {text}
        </Link>
      );
    case "model":
      return (
        <Link to="/$team/models/$name/$version" params={{ team, name: before, version: after }}>
          {text}
        </Link>
      );
    case "job":
      return (
        <Link to="/$team/jobs/$job" params={{ team, job: node.id }}>
          {text}
        </Link>
      );
    case "deployment":
    case "ground_truth":
      return (
        <Link to="/$team/deployments/$deployment" params={{ team, deployment: node.id }}>
          {text}
        </Link>
      );
    case "run":
      if (typeof details.experiment_id === "string")
        return <RunLink team={team} experiment={details.experiment_id} run={node.id} />;
      break;
    case "revision":
      if (typeof details.rollout_id === "string")
        return (
          <Link to="/$team/rollouts/$rollout" params={{ team, rollout: details.rollout_id }}>
            {text}
          </Link>
        );
  }
  return (
    <Link to="/$team/lineage/$kind/$id" params={{ team, kind: node.kind, id: node.id }}>
      {text}
    </Link>
  );
}
