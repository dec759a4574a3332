/** Approve, reject or abstain, with a reason; in an emergency break the glass, and afterwards review that. */

import { Alert, Group, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { answer, api } from "../../api/client";
import { me } from "../../api/me";
import type { Schemas } from "../../api/types";
import { ActButton } from "../../parts/ask";
import { When } from "../../parts/when";

type Approval = Schemas["Approval"];

const LONGEST = 200;

export function Decide({ team, of }: { team: string; of: Approval }) {
  if (of.glass_broken) return <Reviewed team={team} of={of} glass={of.glass_broken} />;
  if (of.status !== "pending") return null;
  return <Vote team={team} of={of} />;
}

function Vote({ team, of }: { team: string; of: Approval }) {
  const { data: person } = useQuery(me(team));
  const params = { path: { approval_id: of.approval_id } };
  const own = person?.name === of.requested_by;
  const voted = of.votes.some((vote) => vote.voter === person?.name);
  const barred = own
    ? "You asked for it: somebody else decides."
    : voted
      ? "You have voted. A vote cannot be changed."
      : undefined;
  const shared = { needs: "approve" as const, reason: "required" as const, longest: LONGEST, barred };
  return (
    <Stack gap="xs">
      {barred && <Text size="sm">{barred}</Text>}
      <Group gap="xs">
        <ActButton
          {...shared}
          variant="filled"
          color="teal.9"
          done="Your approval counts"
          act={(reason) =>
            answer(api.POST("/api/v1/approvals/{approval_id}/approve", { params, body: { reason } }))
          }
        >
          Approve
        </ActButton>
        <ActButton
          {...shared}
          color="red"
          variant="outline"
          done="Your rejection counts"
          act={(reason) =>
            answer(api.POST("/api/v1/approvals/{approval_id}/reject", { params, body: { reason } }))
          }
        >
          Reject
        </ActButton>
        <ActButton
          {...shared}
          done="You abstained"
          act={(reason) =>
            answer(api.POST("/api/v1/approvals/{approval_id}/abstain", { params, body: { reason } }))
          }
        >
          Abstain
        </ActButton>
        {person?.permissions.includes("break_glass") && (
          <ActButton
            needs="break_glass"
            color="red"
            reason="required"
            longest={LONGEST}
            done="The glass is broken; everybody is told"
            confirm={{
              title: "Break the glass?",
              text: "It goes out without the votes that it needs. Everybody is told, and somebody else reviews it within 24 hours; while that is overdue, no version of this model gets into production.",
            }}
            act={(reason) =>
              answer(api.POST("/api/v1/approvals/{approval_id}/break-glass", { params, body: { reason } }))
            }
          >
            Break the glass
          </ActButton>
        )}
      </Group>
    </Stack>
  );
}

function Reviewed({
  team,
  of,
  glass,
}: {
  team: string;
  of: Approval;
  glass: NonNullable<Approval["glass_broken"]>;
}) {
  const { data: person } = useQuery(me(team));
  const params = { path: { approval_id: of.approval_id } };
  const barred =
    person?.name === glass.by || person?.name === of.requested_by
      ? "Somebody reviews it who neither asked for it nor broke the glass."
      : undefined;
  const review = (verdict: "justified" | "unjustified") => (reason: string) =>
    answer(api.POST("/api/v1/approvals/{approval_id}/review", { params, body: { verdict, reason } }));
  return (
    <Alert color="red" variant="outline" title={`${glass.by} broke the glass`}>
      <Stack gap="xs">
        {glass.reviewed_at ? (
          <Text size="sm">
            {glass.reviewed_by} found it {glass.verdict} <When at={glass.reviewed_at} />: {glass.reason}
          </Text>
        ) : (
          <>
            <Text size="sm">
              Somebody else reviews it <When at={glass.review_due_at} />; while that is overdue, no version of
              this model gets into production.
            </Text>
            <Group gap="xs">
              <ActButton
                needs="approve"
                reason="required"
                longest={LONGEST}
                barred={barred}
                done="The review is closed: justified"
                act={review("justified")}
              >
                It was justified
              </ActButton>
              <ActButton
                needs="approve"
                color="red"
                reason="required"
                longest={LONGEST}
                barred={barred}
                done="The review is closed: not justified"
                act={review("unjustified")}
              >
                It was not
              </ActButton>
            </Group>
          </>
        )}
      </Stack>
    </Alert>
  );
}
