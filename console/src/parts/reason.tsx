import { Textarea } from "@mantine/core";

/** A field for a reason that is kept in the audit log. */
export function Reason({ value, set }: { value: string; set: (text: string) => void }) {
  return (
    <Textarea
      label="Reason"
      description="It stands in the audit log."
      required
      autosize
      minRows={2}
      maxLength={200}
      value={value}
      onChange={(event) => set(event.currentTarget.value)}
    />
  );
}
