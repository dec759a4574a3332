/** Who sits where: one seat a person, as many filled as can be, the mandatory ones first. As the platform counts. */

import type { Schemas } from "../../api/types";

type Approval = Pick<Schemas["Approval"], "requirement" | "votes">;
type Vote = Schemas["Vote"];

/** The seats in the order in which they are given out. */
export function order({ requirement }: Pick<Approval, "requirement">): string[] {
  const others = Object.keys(requirement.seats).filter((seat) => !requirement.mandatory.includes(seat));
  return [...requirement.mandatory, ...others];
}

/** The votes by the seats that they fill. */
export function filled(of: Approval): Record<string, Vote> {
  const approving = of.votes.filter((vote) => vote.verdict === "approve");
  const taken = new Map<string, Vote>();
  for (const seat of order(of)) seek(of, seat, approving, taken, new Set());
  return Object.fromEntries(taken);
}

/** Finds somebody for a seat; who sits already moves to another one where they may. */
function seek(
  of: Approval,
  seat: string,
  votes: Vote[],
  taken: Map<string, Vote>,
  tried: Set<string>,
): boolean {
  for (const vote of votes) {
    if (tried.has(vote.voter) || !maySit(of, seat, vote.roles)) continue;
    tried.add(vote.voter);
    const held = [...taken].find(([, sitting]) => sitting.voter === vote.voter)?.[0];
    if (held === undefined || seek(of, held, votes, taken, tried)) {
      taken.set(seat, vote);
      return true;
    }
  }
  return false;
}

export function maySit(of: Pick<Approval, "requirement">, seat: string, roles: readonly string[]): boolean {
  return (of.requirement.seats[seat] ?? []).some((role) => roles.includes(role));
}
