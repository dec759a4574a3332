/** The same request as code, to be copied. Whoever runs it brings a key of their own. */

import { SegmentedControl, Stack, Text } from "@mantine/core";
import { useState } from "react";
import { Code } from "../../../parts/more";
import { Panel } from "../../../parts/page";
import type { Deployment } from "../api";

const FORMS = { curl: "curl", sdk: "SDK", requests: "Python", js: "JavaScript" } as const;
type Form = keyof typeof FORMS;

export function CallIt({ of, instances }: { of: Deployment; instances: unknown[] }) {
  const [form, setForm] = useState<Form>("curl");
  return (
    <Panel
      title="Code to call it"
      actions={
        <SegmentedControl
          size="xs"
          aria-label="Language"
          data={Object.entries(FORMS).map(([value, label]) => ({ value, label }))}
          value={form}
          onChange={(value) => setForm(value as Form)}
        />
      }
    >
      <Stack gap="xs">
        <Code label={FORMS[form]}>{WRITERS[form](of, instances)}</Code>
        <Text size="sm" c="dimmed">
          It needs a key that may predict: mlops keys create NAME --role prediction_client
        </Text>
      </Stack>
    </Panel>
  );
}

const WRITERS: Record<Form, (of: Deployment, instances: unknown[]) => string> = {
  curl: (of, instances) =>
    [
      `curl '${of.endpoint}' \\`,
      `  -H "Authorization: Bearer $MLOPS_KEY" -H 'Content-Type: application/json' \\`,
      `  -d '${JSON.stringify({ instances }).replaceAll("'", "'\\''")}'`,
    ].join("\n"),
  sdk: (of, instances) =>
    [
      "from ml_platform import Platform",
      "",
      `deployment = Platform().deployments.get("${of.environment}/${of.name}")`,
      `print(deployment.predict(${python(instances, "")}))`,
    ].join("\n"),
  requests: (of, instances) =>
    [
      "import os",
      "",
      "import requests",
      "",
      "answer = requests.post(",
      `    "${of.endpoint}",`,
      `    headers={"Authorization": f"Bearer {os.environ['MLOPS_KEY']}"},`,
      `    json={"instances": ${python(instances, "    ")}},`,
      "    timeout=10,",
      ")",
      "answer.raise_for_status()",
      'print(answer.json()["predictions"], answer.headers["x-request-id"])',
    ].join("\n"),
  js: (of, instances) =>
    [
      `const answer = await fetch(${JSON.stringify(of.endpoint)}, {`,
      '  method: "POST",',
      "  headers: {",
      `    authorization: \`Bearer \${process.env.MLOPS_KEY}\`,`,
      '    "content-type": "application/json",',
      "  },",
      `  body: JSON.stringify(${indented(JSON.stringify({ instances }, null, 2), "  ")}),`,
      "});",
      "if (!answer.ok) throw new Error(await answer.text());",
      "console.log((await answer.json()).predictions);",
    ].join("\n"),
};

function indented(code: string, by: string): string {
  return code.replaceAll("\n", `\n${by}`);
}

/** JSON as Python writes it; only what stands for itself is changed, never what stands in a text. */
function python(value: unknown, by: string): string {
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map((item) => python(item, by)).join(", ")}]`;
  if (typeof value !== "object") return JSON.stringify(value);
  const inner = `${by}    `;
  const entries = Object.entries(value).map(
    ([name, item]) => `${JSON.stringify(name)}: ${python(item, inner)}`,
  );
  const short = `{${entries.join(", ")}}`;
  return short.length < 80 ? short : `{\n${inner}${entries.join(`,\n${inner}`)},\n${by}}`;
}
