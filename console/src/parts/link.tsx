/** Mantine's links and buttons as links of the router: opened in a new tab, copied, preloaded on hover. */

import { Anchor, type AnchorProps, Button, type ButtonProps } from "@mantine/core";
import { createLink, useParams } from "@tanstack/react-router";
import { type AnchorHTMLAttributes, forwardRef } from "react";

type Plain = Omit<AnchorHTMLAttributes<HTMLAnchorElement>, keyof AnchorProps | "href">;

export const Link = createLink(
  forwardRef<HTMLAnchorElement, AnchorProps & Plain>((props, ref) => <Anchor ref={ref} inherit {...props} />),
);

type PlainButton = Omit<AnchorHTMLAttributes<HTMLAnchorElement>, keyof ButtonProps | "href">;

export const LinkButton = createLink(
  forwardRef<HTMLAnchorElement, ButtonProps & PlainButton>((props, ref) => (
    <Button ref={ref} component="a" variant="default" {...props} />
  )),
);

/** The team that the page is about: the first part of its address. */
export function useTeam(): string {
  return useParams({ strict: false }).team ?? "";
}
