import { Button, Group, Stack, Text } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { answer, api } from "../../api/client";
import { saved } from "../../api/save";
import { number, roughly } from "../../parts/figures";
import { Panel } from "../../parts/page";
import { Failed } from "../../parts/states";
import { Status } from "../../parts/status";
import { When } from "../../parts/when";

/** The chain checked now, the write-once archive, and the export to check elsewhere. */
export function Integrity({ team }: { team: string }) {
  const verify = useMutation({ mutationFn: () => answer(api.GET("/api/v1/audit/verify")) });
  const exporting = useMutation({
    mutationFn: async () => {
      const text = await answer(api.GET("/api/v1/audit/export", { parseAs: "text" }));
      saved(String(text), `audit-${team}.jsonl`, "application/x-ndjson");
    },
  });
  const archive = useQuery({
    queryKey: [team, "audit-archive"],
    queryFn: () => answer(api.GET("/api/v1/audit/archive")),
  });
  const found = verify.data;
  return (
    <Panel
      title="Integrity"
      actions={
        <Group gap="xs">
          <Button variant="default" loading={verify.isPending} onClick={() => verify.mutate()}>
            Verify the chain
          </Button>
          <Button variant="default" loading={exporting.isPending} onClick={() => exporting.mutate()}>
            Export
          </Button>
        </Group>
      }
    >
      <Stack gap="xs" aria-live="polite">
        {found && (
          <Text size="sm">
            <Status of={found.verified ? "ok" : "failed"}>
              {found.verified ? "intact" : "tampered with"}
            </Status>
            : {number(found.events)} events and {number(found.checkpoints)} signed checkpoints were read
            {found.findings.length > 0 && `; ${found.findings.length} findings`}.
          </Text>
        )}
        {found?.findings.slice(0, 20).map((finding) => (
          <Text size="sm" key={`${finding.sequence} ${finding.kind}`}>
            Event {finding.sequence}: {finding.kind}, {finding.detail}
          </Text>
        ))}
        {verify.error && <Failed error={verify.error} />}
        {exporting.error && <Failed error={exporting.error} />}
        {archive.data && (
          <Text size="sm" component="div">
            Write-once archive: <Status of={archive.data.state} />
            {archive.data.location && (
              <>
                {" "}
                at {archive.data.location}, {number(archive.data.archived)} events kept, last{" "}
                <When at={archive.data.archived_at} />
                {archive.data.backlog_events > 0 && `, ${roughly(archive.data.backlog_seconds)} behind`}
              </>
            )}
            {archive.data.detail && `. ${archive.data.detail}`}
          </Text>
        )}
        {archive.error && <Failed error={archive.error} />}
      </Stack>
    </Panel>
  );
}
