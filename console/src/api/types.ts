import type { components } from "./schema";

/** The API's models by name: `Schemas["Deployment"]`. */
export type Schemas = components["schemas"];
export type Permission = Schemas["Permission"];
export type Problem = Schemas["Problem"];
