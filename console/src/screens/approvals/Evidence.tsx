/** What each stage found before anybody was asked. */

import "../deployments/deployments.css";

import { Panel } from "../../parts/page";
import { Status } from "../../parts/status";
import { type Bag, bag, words } from "../../parts/unknown";
import { Findings } from "../deployments/evidence/Findings";
import { gist } from "../deployments/evidence/gist";
import { StageEvidence } from "../deployments/evidence/StageEvidence";

const ORDER = ["validate", "security", "test", "approval"];

export function Evidence({ stages, config }: { stages: Bag; config: Bag }) {
  const names = [
    ...ORDER.filter((name) => name in stages),
    ...Object.keys(stages).filter((name) => !ORDER.includes(name)),
  ];
  return (
    <Panel title="Evidence" flush>
      <ol className="stages" aria-label="Evidence by stage">
        {names.map((name) => (
          <li key={name}>
            <details open={name === "test"}>
              <summary>
                <b>{words(name)}</b>
                <Status of="passed" />
                <span className="gist">{gist(name, bag(stages[name])) ?? ""}</span>
                <span />
              </summary>
              <div className="inside">
                <StageEvidence stage={name} of={bag(stages[name])} />
              </div>
            </details>
          </li>
        ))}
        <li>
          <details>
            <summary>
              <b>configuration</b>
              <span />
              <span className="gist">how it will run</span>
              <span />
            </summary>
            <div className="inside">
              <Findings of={config} />
            </div>
          </details>
        </li>
      </ol>
    </Panel>
  );
}
