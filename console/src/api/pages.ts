/** Lists by cursor, as one growing list of rows. */

import { useInfiniteQuery } from "@tanstack/react-query";
import { useCallback, useMemo } from "react";
import type { Pages } from "../parts/table";

export interface PageOf<T> {
  items: T[];
  next_cursor?: string | null;
}

export function usePages<T>(
  key: readonly unknown[],
  page: (cursor: string | undefined) => Promise<PageOf<T>>,
  refetchInterval?: number | ((rows: T[]) => number),
): Pages<T> {
  const query = useInfiniteQuery({
    queryKey: key,
    queryFn: ({ pageParam }) => page(pageParam),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (last) => last.next_cursor ?? undefined,
    refetchOnWindowFocus: (current) => (current.state.data?.pages.length ?? 0) <= 1,
    // Somebody who reads far down is not served by a list that moves: only the first page lives.
    refetchInterval: (current) => {
      const read = current.state.data?.pages ?? [];
      if (read.length > 1) return false;
      return typeof refetchInterval === "function" ? refetchInterval(read[0]?.items ?? []) : refetchInterval;
    },
  });
  const { data, error, hasNextPage, isFetchingNextPage, isFetchNextPageError, fetchNextPage, refetch } =
    query;
  const rows = useMemo(() => data?.pages.flatMap((each) => each.items), [data]);
  const load = useCallback(() => void fetchNextPage(), [fetchNextPage]);
  return {
    rows,
    error,
    more: {
      has: hasNextPage,
      load,
      loading: isFetchingNextPage,
      failed: isFetchNextPageError ? error : null,
    },
    again: () => void refetch(),
  };
}
