import { Select } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { answer, api } from "../../api/client";
import { useMay } from "../../api/me";
import { FormButton } from "../../parts/form";

/** Makes another member of the team answer for the model. */
export function Owner({ team, name, owner }: { team: string; name: string; owner: string | undefined }) {
  const may = useMay("manage_team");
  const [user, setUser] = useState<string | null>(null);
  const members = useQuery({
    queryKey: [team, "members", "names"],
    queryFn: () =>
      answer(api.GET("/api/v1/teams/{team}/members", { params: { path: { team }, query: { limit: 500 } } })),
    enabled: may,
    staleTime: 60_000,
  });
  return (
    <FormButton
      label="Change the owner"
      title={`Who answers for ${name}?`}
      needs="manage_team"
      verb="Make the owner"
      size="compact-xs"
      ready={user !== null && user !== owner}
      begin={() => setUser(owner ?? null)}
      done={`${user} answers for ${name} now`}
      send={() =>
        answer(
          api.PUT("/api/v1/governance/models/{name}/owner", {
            params: { path: { name } },
            body: { user: user ?? "" },
          }),
        )
      }
    >
      <Select
        label="Owner"
        description="A member of the team; nobody reviews or approves a model of their own."
        searchable
        data={members.data?.items.map((member) => member.user_name) ?? []}
        value={user}
        onChange={setUser}
      />
    </FormButton>
  );
}
