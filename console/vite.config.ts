import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// Served by the control plane below /console/, from the package that the wheel holds.
export default defineConfig({
  base: "/console/",
  plugins: [react()],
  build: {
    outDir: "../src/ml_platform/server/static/console",
    emptyOutDir: true,
    assetsInlineLimit: 0, // a data: address would need a looser content security policy
    chunkSizeWarningLimit: 700, // ECharts, loaded by the screens that draw
  },
  server: { proxy: { "/api": "http://127.0.0.1:8080", "/login": "http://127.0.0.1:8080" } },
});
