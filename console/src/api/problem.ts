/** RFC 9457 problems as errors. */

import type { Problem } from "./types";

export class ProblemError extends Error {
  readonly status: number;
  readonly code: string;
  readonly hint: string | undefined;
  readonly requestId: string | undefined;
  readonly fields: readonly { field: string; message: string }[];

  constructor(problem: Partial<Problem> & { status: number }) {
    super(problem.detail ?? problem.title ?? `the platform answered ${problem.status}`);
    this.name = "ProblemError";
    this.status = problem.status;
    this.code = problem.code ?? "unknown";
    this.hint = problem.hint ?? undefined;
    this.requestId = problem.request_id ?? undefined;
    this.fields = problem.errors ?? [];
  }

  static unreachable(): ProblemError {
    return new ProblemError({
      status: 0,
      code: "unreachable",
      detail: "The platform does not answer.",
      hint: "Is it running? mlops status says so. This page tries again by itself.",
    });
  }
}

export async function problemOf(response: Response): Promise<ProblemError> {
  const type = response.headers.get("content-type") ?? "";
  const body = type.includes("json") ? await response.json().catch(() => ({})) : {};
  return new ProblemError({ ...body, status: response.status });
}
