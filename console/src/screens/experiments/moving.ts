import type { Schemas } from "../../api/types";

type JobStatus = Schemas["JobStatus"];

export const ENDED: JobStatus[] = ["succeeded", "failed", "cancelled", "timed_out"];

/** Whether a job has not ended yet. */
export function isMoving(status: JobStatus): boolean {
  return !ENDED.includes(status);
}
