/** What is opened when somebody wants to know more; and text to be copied. */

import "./more.css";

import { ActionIcon, CopyButton, Group, Tooltip } from "@mantine/core";
import { IconCheck, IconCopy } from "@tabler/icons-react";

export function More({
  label,
  open = false,
  children,
}: {
  label: React.ReactNode;
  open?: boolean;
  children: React.ReactNode;
}) {
  return (
    <details className="more" open={open}>
      <summary>{label}</summary>
      <div className="more-inside">{children}</div>
    </details>
  );
}

export function Copy({ what, label }: { what: string; label: string }) {
  return (
    <CopyButton value={what}>
      {({ copied, copy }) => (
        <Tooltip label={copied ? "Copied" : label}>
          <ActionIcon variant="default" size="sm" aria-label={copied ? "Copied" : label} onClick={copy}>
            {copied ? <IconCheck size={14} aria-hidden /> : <IconCopy size={14} aria-hidden />}
          </ActionIcon>
        </Tooltip>
      )}
    </CopyButton>
  );
}

/** A line to be copied, such as an address. */
export function Copyable({ children, label }: { children: string; label: string }) {
  return (
    <Group gap={6} wrap="nowrap" align="flex-start" component="span">
      <span className="mono">{children}</span>
      <Copy what={children} label={label} />
    </Group>
  );
}

/** Code, as it is, with a button that copies it. */
export function Code({ children, label }: { children: string; label: string }) {
  return (
    <div className="code">
      <section className="json" tabIndex={0} aria-label={label}>
        <pre>{children}</pre>
      </section>
      <div className="code-copy">
        <Copy what={children} label={`Copy ${label}`} />
      </div>
    </div>
  );
}
