import { Select, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { answer, api } from "../../api/client";
import { useMay } from "../../api/me";
import type { Schemas } from "../../api/types";
import { FormButton } from "../../parts/form";

interface Props {
  team: string;
  view: Schemas["FeatureView"];
  started: (id: string) => void;
}

/** Writes the newest values online, from the version that the view stands on or from a newer one. */
export function Materialize({ team, view, started }: Props) {
  const may = useMay("train_model");
  const [version, setVersion] = useState(view.dataset_version);
  const { data } = useQuery({
    queryKey: [team, "datasets", view.dataset],
    queryFn: () => answer(api.GET("/api/v1/datasets/{name}", { params: { path: { name: view.dataset } } })),
    enabled: may,
  });
  const newest = Math.max(data?.latest_version ?? 0, view.dataset_version);
  const all = Array.from({ length: Math.min(newest, 200) }, (_, index) => newest - index);
  return (
    <FormButton
      label="Materialise"
      title={`Write ${view.name} online`}
      needs="train_model"
      verb="Write"
      variant="filled"
      begin={() => setVersion(view.dataset_version)}
      done="It is being written"
      send={() =>
        answer(
          api.POST("/api/v1/feature-views/{name}/materialize", {
            params: { path: { name: view.name } },
            body: version === view.dataset_version ? {} : { dataset_version: version },
          }),
        )
      }
      sent={({ materialization_id }) => started(materialization_id)}
    >
      <Text size="sm">The newest values of every entity are written; predictions use them at once.</Text>
      <Select
        label={`Version of ${view.dataset}`}
        description="Another one than now moves the view to it first."
        allowDeselect={false}
        data={all.map((each) => ({
          value: String(each),
          label: each === view.dataset_version ? `${each}, as now` : String(each),
        }))}
        value={String(version)}
        onChange={(value) => setVersion(Number(value))}
      />
    </FormButton>
  );
}
