/** Colours and measures. Every pair of text and ground holds WCAG's 4.5 to 1. */

import { type CSSVariablesResolver, createTheme } from "@mantine/core";

export const theme = createTheme({
  primaryColor: "indigo",
  primaryShade: { light: 9, dark: 8 },
  fontFamily: "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif",
  fontFamilyMonospace: "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace",
  defaultRadius: "md",
  cursorType: "pointer",
  fontSizes: { xs: "0.75rem", sm: "0.8125rem", md: "0.875rem", lg: "1rem", xl: "1.125rem" },
  headings: {
    fontWeight: "620",
    sizes: { h1: { fontSize: "1.375rem" }, h2: { fontSize: "1.0625rem" }, h3: { fontSize: "0.9375rem" } },
  },
  components: {
    Paper: { defaultProps: { withBorder: true, p: "md" } },
    Button: { defaultProps: { size: "xs" } },
    Notification: { defaultProps: { closeButtonProps: { "aria-label": "Close" } } },
    Tooltip: { defaultProps: { openDelay: 250, multiline: true, maw: 340 } },
  },
});

export const variables: CSSVariablesResolver = () => ({
  variables: {},
  light: {
    "--mantine-color-dimmed": "#4b5563",
    "--mantine-color-placeholder": "#5b6472",
    "--mantine-color-anchor": "#3444b4",
    "--mantine-color-body": "#ffffff",
    "--mantine-color-red-outline": "#c22b2b",
    "--mantine-color-green-outline": "#1a7f42",
    "--mantine-color-yellow-outline": "#9a5b00",
    "--mantine-color-gray-outline": "#4b5563",
    "--tone-good": "#1a7f42",
    "--tone-warn": "#9a5b00",
    "--tone-bad": "#c22b2b",
    "--tone-busy": "#2f56c6",
    "--tone-quiet": "#6b7280",
    "--ground": "#f6f7f9",
    "--line": "#e2e5ea",
  },
  dark: {
    "--mantine-color-dimmed": "#a9b1bd",
    "--mantine-color-placeholder": "#98a1ae",
    "--mantine-color-anchor": "#9db2ff",
    "--mantine-color-body": "#16181d",
    "--mantine-color-text": "#e4e7ec",
    "--tone-good": "#4cc27a",
    "--tone-warn": "#e3a542",
    "--tone-bad": "#ff7b72",
    "--tone-busy": "#86a4ff",
    "--tone-quiet": "#98a1ae",
    "--ground": "#101216",
    "--line": "#2b2f37",
  },
});
