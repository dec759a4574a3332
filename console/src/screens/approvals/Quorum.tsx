/** The quorum, seat by seat: who fills it, who may. */

import { Progress, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { me } from "../../api/me";
import type { Schemas } from "../../api/types";
import { Status } from "../../parts/status";
import { words } from "../../parts/unknown";
import { filled, maySit, order } from "./seats";

type Approval = Schemas["Approval"];

export function Quorum({ team, of }: { team: string; of: Approval }) {
  const { data: person } = useQuery(me(team));
  const roles = person?.teams[team] ?? [];
  const seats = filled(of);
  const { quorum, mandatory } = of.requirement;
  const taken = Object.keys(seats).length;
  if (of.automatic)
    return (
      <Text size="sm">
        The rule granted it: at low risk nobody has to decide once every check has passed.
      </Text>
    );
  const said = `${taken} of ${quorum} seats are filled`;
  return (
    <>
      <Text size="sm" fw={600} component="h3" m={0}>
        {said}
      </Text>
      <Progress
        aria-label={said}
        value={Math.min(100, (100 * taken) / Math.max(quorum, 1))}
        color="teal.9"
        size="md"
      />
      <ul className="seats" aria-label="Seats">
        {order(of).map((seat) => {
          const vote = seats[seat];
          return (
            <li key={seat} data-filled={vote !== undefined}>
              <Status of={vote ? "approved" : "pending"} tone={vote ? "good" : "quiet"}>
                <b>{words(seat)}</b>
              </Status>
              <span>
                {vote ? `filled by ${vote.voter}` : open(of, seat, roles)}
                {mandatory.includes(seat) ? " (mandatory)" : ""}
              </span>
            </li>
          );
        })}
      </ul>
      {of.status === "pending" && of.missing.length > 0 && (
        <Text size="sm">Missing: {of.missing.map(words).join(", ")}.</Text>
      )}
    </>
  );
}

function open(of: Approval, seat: string, mine: readonly string[]): string {
  if (maySit(of, seat, mine)) return "open, and you may take it";
  const roles = of.requirement.seats[seat] ?? [];
  return roles.length === 1 && roles[0] === seat ? "open" : `open to ${roles.map(words).join(", ")}`;
}
