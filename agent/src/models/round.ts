// One change that several serving processes make together: none of them lets another version answer before all hold it, or
// one has failed; what failed in one is not to answer in any.

/** A version that cannot be loaded, or not answer. */
export interface VersionFailure {
  version: number;
  release?: string | undefined;
  error: unknown;
}

export interface Round {
  /** In the order in which it happened, whoever it happened to. */
  readonly failed: VersionFailure[];
  /** Resolves when all others have come as far, or left. */
  together(who: object): Promise<void>;
  /** Does not take part any more; whoever is through leaves as well. */
  left(who: object): void;
}

export function createRound(taking: readonly object[]): Round {
  const coming = new Set(taking);
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  const arrived = (who: object): void => {
    coming.delete(who);
    if (coming.size === 0) open();
  };
  return {
    failed: [],
    together(who) {
      arrived(who);
      return opened;
    },
    left: arrived,
  };
}
