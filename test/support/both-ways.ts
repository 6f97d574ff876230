// One folder of models behind both ways of reading HTTP, one after the other: the second server believes the proofs of the
// first, so that it costs a start only.
import { afterAll, beforeAll, describe } from 'vitest';
import { temporaryFolder } from './programs.ts';
import { type FolderServer, startServing } from './serving.ts';

const ways = [
  ['our own reader', 'on'],
  ["Node's server", 'off'],
] as const;

export interface BothWays {
  /** Fills the folder. */
  write(folder: string): Promise<void>;
  /** The server that answers from here on. */
  begin(server: FolderServer): void;
  env?: Record<string, string>;
}

/** Declares `suite` once for each way. */
export function onBothWays({ write, begin, env }: BothWays, suite: () => void): void {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>;
  beforeAll(async () => {
    folder = await temporaryFolder();
    await write(folder.path);
  });
  afterAll(() => folder.remove());
  describe.each(ways)('read by %s', (_, way) => {
    let server: FolderServer | undefined;
    beforeAll(async () => {
      server = await startServing(folder.path, {
        timeoutMs: 110_000,
        env: { EDGELOOP_THREADS: '1', EDGELOOP_LOG_LEVEL: 'warn', ...env, EDGELOOP_PLAIN_HTTP: way },
      });
      begin(server);
    });
    afterAll(() => server?.stop());
    suite();
  });
}
