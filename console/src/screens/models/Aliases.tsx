import { NumberInput, TextInput } from "@mantine/core";
import { useState } from "react";
import { answer, api } from "../../api/client";
import { ActButton } from "../../parts/ask";
import { FormButton } from "../../parts/form";
import { Link } from "../../parts/link";
import { Panel } from "../../parts/page";
import { Empty } from "../../parts/states";
import { Table } from "../../parts/table";

/** The alias that the platform sets itself: what serves in production. */
const OWN = "champion";

interface Props {
  team: string;
  name: string;
  aliases: Record<string, number> | undefined;
  newest: number | undefined;
}

export function Aliases({ team, name, aliases, newest }: Props) {
  return (
    <Panel title="Aliases" flush actions={<SetAlias name={name} newest={newest} />}>
      <Table
        label="Aliases"
        rows={Object.entries(aliases ?? {})}
        id={([alias]) => alias}
        empty={<Empty title="No alias">An alias names a version by what it is for: {name}@candidate</Empty>}
        columns={[
          { name: "Alias", cell: ([alias]) => `${name}@${alias}` },
          {
            name: "Means",
            cell: ([, version]) => (
              <Link to="/$team/models/$name/$version" params={{ team, name, version: String(version) }}>
                version&nbsp;{version}
              </Link>
            ),
          },
          {
            name: "Remove",
            cell: ([alias]) => (alias === OWN ? "set by the platform" : <Remove name={name} alias={alias} />),
          },
        ]}
      />
    </Panel>
  );
}

function Remove({ name, alias }: { name: string; alias: string }) {
  return (
    <ActButton
      size="compact-xs"
      needs="train_model"
      done={`${name}@${alias} was removed`}
      confirm={{
        title: `Remove ${name}@${alias}`,
        text: "Whatever asks for the model by this alias finds nothing then.",
      }}
      act={() =>
        answer(api.DELETE("/api/v1/models/{name}/aliases/{alias}", { params: { path: { name, alias } } }))
      }
    >
      Remove
    </ActButton>
  );
}

function SetAlias({ name, newest }: { name: string; newest: number | undefined }) {
  const [alias, setAlias] = useState("");
  const [version, setVersion] = useState<number | string>("");
  return (
    <FormButton
      label="Set an alias"
      title={`An alias of ${name}`}
      needs="train_model"
      verb="Set"
      size="compact-xs"
      begin={() => {
        setAlias("");
        setVersion(newest ?? 1);
      }}
      ready={/^[a-z0-9]([a-z0-9_-]*[a-z0-9])?$/.test(alias) && typeof version === "number"}
      done={`${name}@${alias} means version ${version} now`}
      send={() =>
        answer(
          api.PUT("/api/v1/models/{name}/aliases/{alias}", {
            params: { path: { name, alias } },
            body: { version: Number(version) },
          }),
        )
      }
    >
      <TextInput
        label="Alias"
        description="Small letters, digits, - and _"
        required
        data-autofocus
        maxLength={63}
        value={alias}
        onChange={(event) => setAlias(event.currentTarget.value.trim())}
      />
      <NumberInput label="Version" required min={1} max={newest} value={version} onChange={setVersion} />
    </FormButton>
  );
}
