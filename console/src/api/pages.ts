/** Lists by cursor, as one growing list of rows. */

import { useInfiniteQuery } from "@tanstack/react-query";
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
    // Somebody who reads far down is not served by a list that moves: only the first page lives.
    refetchInterval: (current) => {
      const read = current.state.data?.pages ?? [];
      if (read.length > 1) return false;
      return typeof refetchInterval === "function" ? refetchInterval(read[0]?.items ?? []) : refetchInterval;
    },
  });
  return {
    rows: query.data?.pages.flatMap((each) => each.items),
    error: query.error,
    more: {
      has: query.hasNextPage,
      load: () => void query.fetchNextPage(),
      loading: query.isFetchingNextPage,
    },
    again: () => void query.refetch(),
  };
}
