import "@mantine/core/styles.css";
import "@mantine/notifications/styles.css";
import "@mantine/spotlight/styles.css";
import "./app.css";

import { MantineProvider } from "@mantine/core";
import { Notifications } from "@mantine/notifications";
import { QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { newQueryClient } from "./api/live";
import { createConsoleRouter } from "./router";
import { theme, variables } from "./theme";

const client = newQueryClient();
const router = createConsoleRouter(client);
const nonce = document.querySelector('meta[name="style-nonce"]')?.getAttribute("content") ?? "";
// The lock of what stands behind a dialog makes a style of its own, and looks for the nonce under this name.
Object.assign(window, { __webpack_nonce__: nonce });

const place = document.getElementById("root");
if (place)
  createRoot(place).render(
    <StrictMode>
      <MantineProvider
        theme={theme}
        cssVariablesResolver={variables}
        defaultColorScheme="auto"
        getStyleNonce={() => nonce}
      >
        <Notifications position="bottom-right" autoClose={5000} />
        <QueryClientProvider client={client}>
          <RouterProvider router={router} />
        </QueryClientProvider>
      </MantineProvider>
    </StrictMode>,
  );
