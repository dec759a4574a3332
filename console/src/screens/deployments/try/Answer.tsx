/** What the endpoint answered, which revision did, how to find it again, and why. */

import { Group, Stack, Text, Title } from "@mantine/core";
import type { Schemas } from "../../../api/types";
import { Facts } from "../../../parts/facts";
import { milliseconds, number } from "../../../parts/figures";
import { Link } from "../../../parts/link";
import { Copyable } from "../../../parts/more";
import { figure, line } from "../../../parts/unknown";
import { Explanation } from "../evidence/Explanation";

type Data = Schemas["PredictionAnswer"];

export function Answer({ team, of }: { team: string; of: Data }) {
  const explanations = of.explanations ?? [];
  return (
    <Stack gap="sm" aria-live="polite">
      {of.predictions.map((prediction, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: answers have no name but their place
        <Group key={index} gap="xs" align="baseline">
          {of.predictions.length > 1 && <Text size="sm">{index + 1}.</Text>}
          <span className="number-big">
            {figure(prediction) === null ? line(prediction) : number(figure(prediction), 4)}
          </span>
        </Group>
      ))}
      <Facts
        of={[
          [
            "answered by",
            <Link
              key="version"
              to="/$team/models/$name/$version"
              params={{ team, name: of.model_name, version: String(of.model_version) }}
            >
              {of.model_name}/{of.model_version}
            </Link>,
          ],
          ["took", milliseconds(of.milliseconds)],
          [
            "request",
            of.request_id ? (
              <Copyable key="id" label="Copy the request's id">
                {of.request_id}
              </Copyable>
            ) : null,
          ],
          [
            "where it comes from",
            of.request_id ? (
              <Link
                key="lineage"
                to="/$team/lineage/$kind/$id"
                params={{ team, kind: "prediction", id: of.request_id }}
              >
                lineage of this prediction
              </Link>
            ) : null,
          ],
        ]}
      />
      {of.not_explained && <Text size="sm">It was not explained: {of.not_explained}</Text>}
      {explanations.map((explanation, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: explanations have no name but their place
        <div key={index}>
          <Title order={3}>Why{explanations.length > 1 ? `, of the ${index + 1}.` : ""}</Title>
          <Explanation of={explanation} />
        </div>
      ))}
    </Stack>
  );
}
