/** Checks a file against the dataset's schema, before anybody uploads it as a version. */

import { FileInput, Group, Text } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { answer, api } from "../../api/client";
import { useMay } from "../../api/me";
import type { Schemas } from "../../api/types";
import { number } from "../../parts/figures";
import { Panel } from "../../parts/page";
import { Failed, Loading } from "../../parts/states";
import { Status } from "../../parts/status";
import { Table } from "../../parts/table";
import { shown } from "./profile";

const FORMATS: Record<string, Schemas["UploadFormat"]> = {
  csv: "csv",
  parquet: "parquet",
  jsonl: "jsonl",
  ndjson: "jsonl",
};

export function Validate({ name }: { name: string }) {
  const may = useMay("write_data");
  const [file, setFile] = useState<File | null>(null);
  const check = useMutation({
    mutationFn: (chosen: File) =>
      answer(
        api.POST("/api/v1/datasets/{name}/validate", {
          params: { path: { name }, query: { format: formatOf(chosen.name) } },
          body: chosen as unknown as string,
          bodySerializer: (body) => body as unknown as File,
          headers: { "content-type": "application/octet-stream" },
        }),
      ),
  });
  if (!may) return null;
  return (
    <Panel title="Check a file">
      <Group align="flex-end">
        <FileInput
          label="File"
          description="CSV, Parquet or JSON Lines. It is checked against the schema, and kept nowhere."
          placeholder="Choose a file"
          accept=".csv,.parquet,.jsonl,.ndjson"
          clearable
          clearButtonProps={{ "aria-label": "Take the file away" }}
          w={320}
          value={file}
          onChange={(chosen) => {
            setFile(chosen);
            if (chosen) check.mutate(chosen);
          }}
        />
      </Group>
      {check.isPending && <Loading lines={2} />}
      {check.error && <Failed error={check.error} />}
      {check.data && <Report of={check.data} />}
    </Panel>
  );
}

function formatOf(name: string): Schemas["UploadFormat"] {
  return FORMATS[name.split(".").at(-1)?.toLowerCase() ?? ""] ?? "csv";
}

function Report({ of }: { of: Schemas["ValidationReport"] }) {
  return (
    <div role="status">
      <Status of={of.valid ? "passed" : "failed"}>
        {of.valid ? "it fits" : "it does not fit"}: {number(of.rows)} rows looked at
      </Status>
      {of.valid ? (
        <Text size="sm">mlops datasets upload makes a version of it.</Text>
      ) : (
        <Table
          label="What does not fit"
          rows={of.violations}
          id={(each) => `${each.column} ${each.check}`}
          columns={[
            { name: "Column", cell: (each) => each.column },
            { name: "Check", cell: (each) => each.check },
            { name: "Rows", number: true, cell: (each) => number(each.count) },
            { name: "For example", cell: (each) => each.examples.map(shown).join(", ") },
          ]}
        />
      )}
    </div>
  );
}
