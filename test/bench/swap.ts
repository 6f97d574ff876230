// A swap under load: what callers feel while a new version is proved, tuned, warmed and made the one that answers.
import { binaryRequest } from './contestants.ts';
import { swapTo, withServer } from './footprint.ts';
import { type LoadGenerator, quantile } from './load.ts';
import { tiny, writeBenchModels } from './models.ts';

export interface SwapUnderLoad {
  requests: number;
  failures: number;
  /** From the new file to its first answer. */
  swapMs: number;
  p99BeforeMs: number;
  p99DuringMs: number;
}

const beforeMs = 4000;
const mostMs = 20_000;

/** Eight callers who wait 5 ms between requests, about a thousand requests a second. */
export function measureSwapUnderLoad(load: LoadGenerator): Promise<SwapUnderLoad> {
  return withServer(
    (folder) => writeBenchModels(folder, [tiny]),
    async (server, folder) => {
      const request = binaryRequest(tiny);
      const target = { port: server.port };
      await load.run({ target, callers: 8, durationMs: 1000, request });
      const beganMs = performance.now();
      const running = load.run({ target, callers: 8, durationMs: mostMs, pauseMs: 5, request });
      await new Promise((resolve) => setTimeout(resolve, beforeMs));
      const swapBeginMs = performance.now() - beganMs;
      await swapTo(server, folder, 2);
      const swapEndMs = performance.now() - beganMs;
      const { atMs, tookMs, failures } = await running;
      const between = (from: number, to: number) =>
        tookMs.filter((_, i) => (atMs[i] ?? 0) >= from && (atMs[i] ?? 0) < to);
      return {
        requests: tookMs.length,
        failures: Object.values(failures).reduce((sum, times) => sum + times, 0),
        swapMs: swapEndMs - swapBeginMs,
        p99BeforeMs: quantile(between(0, swapBeginMs - 500), 0.99),
        p99DuringMs: quantile(between(swapBeginMs - 500, swapEndMs + 500), 0.99),
      };
    },
  );
}
