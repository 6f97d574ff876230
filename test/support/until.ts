// Waiting for a condition with a deadline, never for a time.

export interface UntilOptions {
  timeoutMs?: number;
  everyMs?: number;
  /** What to show when the deadline passes, for example the log of a program. */
  context?: () => string;
}

/** Asks until there is an answer; a throw counts as none and is told when the deadline passes. */
export async function until<T>(
  what: string,
  ask: () => Promise<T | undefined>,
  { timeoutMs = 60_000, everyMs = 100, context }: UntilOptions = {},
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  let failure: unknown;
  for (;;) {
    try {
      const answer = await ask();
      if (answer !== undefined) return answer;
      failure = undefined;
    } catch (error) {
      failure = error;
    }
    if (performance.now() > deadline)
      throw new Error(
        `${what} did not happen in ${timeoutMs} ms${failure === undefined ? '' : `: ${String(failure)}`}\n${context?.() ?? ''}`,
        { cause: failure },
      );
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}
