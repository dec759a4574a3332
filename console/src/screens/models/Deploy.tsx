/** Deploys a version: first what would happen, by the same gates that judge it then. */

import {
  Button,
  Drawer,
  Group,
  NumberInput,
  Select,
  Stack,
  Switch,
  Textarea,
  TextInput,
  Title,
} from "@mantine/core";
import { useDebouncedValue, useDisclosure } from "@mantine/hooks";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { answer, api } from "../../api/client";
import { useMay } from "../../api/me";
import type { Schemas } from "../../api/types";
import { Failed } from "../../parts/states";
import { Plan, usePlan } from "./Plan";

type Environment = Schemas["Environment"];

export function Deploy({ team, model }: { team: string; model: Schemas["ModelVersion"] }) {
  const [open, { open: show, close }] = useDisclosure(false);
  return (
    <>
      <Button onClick={show}>Deploy</Button>
      <Drawer
        opened={open}
        onClose={close}
        position="right"
        size="lg"
        title={`Deploy ${model.model_id}`}
        closeButtonProps={{ "aria-label": "Close" }}
      >
        <DeployForm team={team} model={model} close={close} />
      </Drawer>
    </>
  );
}

interface Wish {
  environment: Environment;
  name: string;
  replicas: number;
  scale: boolean;
  most: number | null;
  justification: string;
}

function request(model: Schemas["ModelVersion"], wish: Wish): Schemas["DeployRequest"] {
  return {
    environment: wish.environment,
    name: wish.name.trim() || model.name,
    replicas: wish.replicas,
    auto_scale: wish.scale,
    max_replicas: wish.scale ? wish.most : null,
    justification: wish.justification.trim() || null,
  } as Schemas["DeployRequest"];
}

const FIRST: Omit<Wish, "name"> = {
  environment: "staging",
  replicas: 1,
  scale: false,
  most: null,
  justification: "",
};

function DeployForm({
  team,
  model,
  close,
}: {
  team: string;
  model: Schemas["ModelVersion"];
  close: () => void;
}) {
  const [wish, setWish] = useState<Wish>({ ...FIRST, name: model.name });
  const set = (change: Partial<Wish>) => setWish((before) => ({ ...before, ...change }));
  const [settled] = useDebouncedValue(wish, 300);
  const plan = usePlan(team, model.model_id, request(model, settled));
  const allowed = useMay(wish.environment === "production" ? "deploy_production" : "deploy_staging");
  const client = useQueryClient();
  const navigate = useNavigate();
  const deploy = useMutation({
    mutationFn: () =>
      answer(
        api.POST("/api/v1/models/{model_id}/deploy", {
          params: { path: { model_id: model.model_id } },
          body: request(model, wish),
        }),
      ),
    onSuccess: async (accepted) => {
      close();
      await client.invalidateQueries({ queryKey: [team, "deployments"] });
      await navigate({ to: "/$team/rollouts/$rollout", params: { team, rollout: accepted.rollout_id } });
    },
  });
  const current = settled === wish && !plan.isFetching;
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        deploy.mutate();
      }}
    >
      <Stack gap="sm">
        <Fields wish={wish} set={set} />
        <Title order={3}>What would happen</Title>
        <Plan query={plan} />
        {deploy.error && <Failed error={deploy.error} />}
        {!allowed && <p>You lack the permission to deploy to {wish.environment}; a team lead can give it.</p>}
        <Group justify="flex-end" gap="xs">
          <Button variant="default" onClick={close}>
            Cancel
          </Button>
          <Button
            type="submit"
            loading={deploy.isPending}
            disabled={!allowed || !current || !plan.data?.allowed}
          >
            {plan.data?.approval ? "Deploy and ask for approval" : "Deploy"}
          </Button>
        </Group>
      </Stack>
    </form>
  );
}

function Fields({ wish, set }: { wish: Wish; set: (change: Partial<Wish>) => void }) {
  return (
    <>
      <Select
        label="Environment"
        data={["dev", "staging", "production"]}
        allowDeselect={false}
        value={wish.environment}
        onChange={(value) => set({ environment: (value ?? "staging") as Environment })}
      />
      <TextInput
        label="Endpoint"
        description="Its name; what serves under it is replaced step by step."
        required
        maxLength={63}
        value={wish.name}
        onChange={(event) => set({ name: event.currentTarget.value })}
      />
      <Group align="flex-end" gap="md">
        <NumberInput
          label="Replicas"
          required
          w={110}
          min={1}
          max={1000}
          allowDecimal={false}
          value={wish.replicas}
          onChange={(value) => set({ replicas: Math.max(1, Number(value) || 1) })}
        />
        {wish.scale && (
          <NumberInput
            label="At most"
            w={110}
            min={wish.replicas}
            max={1000}
            allowDecimal={false}
            value={wish.most ?? ""}
            onChange={(value) => set({ most: value === "" ? null : Number(value) })}
          />
        )}
        <Switch
          label="More when there is more traffic"
          checked={wish.scale}
          onChange={(event) => set({ scale: event.currentTarget.checked })}
        />
      </Group>
      <Textarea
        label="Why"
        description="Shown to those who approve it."
        autosize
        minRows={2}
        maxLength={200}
        value={wish.justification}
        onChange={(event) => set({ justification: event.currentTarget.value })}
      />
    </>
  );
}
