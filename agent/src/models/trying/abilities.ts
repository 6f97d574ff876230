// What this device has, for variants that need something of it.
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { AppError } from '@edgeloop/shared/errors';
import { runBounded, sourceExecArgv } from '@edgeloop/shared/node/bounded-process';
import type { Abilities } from '@edgeloop/shared/variants';
import { z } from 'zod';

/** As reports say it. */
type Facts = Pick<Abilities, 'arch' | 'platform' | 'cpus' | 'memoryBytes' | 'agentVersion'>;

const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const modulePath = fileURLToPath(new URL(`./providers-process.${extension}`, import.meta.url));
const bounds = { timeoutMs: 60_000, maxRssBytes: 1024 ** 3 };

export function createAbilities(facts: Facts) {
  let providers: Promise<string[]> | undefined;
  return async (asked: { providers: boolean }): Promise<Abilities> => {
    if (asked.providers)
      providers ??= providersHere().catch((error: unknown) => {
        providers = undefined;
        throw error;
      });
    const { arch, platform, cpus, memoryBytes, agentVersion } = facts;
    const own = { arch, platform, cpus, memoryBytes, agentVersion };
    return { ...own, cpuFeatures: await cpuFeatures(), providers: (await providers) ?? ['cpu'] };
  };
}

/** In a process of its own: the library takes memory for good. */
async function providersHere(): Promise<string[]> {
  const execArgv = sourceExecArgv(import.meta.url);
  const result = await runBounded({ modulePath, input: {}, ...bounds, execArgv });
  if (!result.ok) throw new AppError('unavailable', `asking for execution providers ${result.detail}`);
  return z.array(z.string()).parse(result.output);
}

/** As Linux tells them; undefined elsewhere. */
async function cpuFeatures(): Promise<string[] | undefined> {
  if (process.platform !== 'linux') return undefined;
  return featuresIn(await readFile('/proc/cpuinfo', 'utf8').catch(() => ''));
}

/** `flags` on x86, `Features` on ARM, of the first processor. */
export function featuresIn(cpuinfo: string): string[] | undefined {
  const [, features] = /^(?:flags|Features)\s*:\s*(.+)$/m.exec(cpuinfo) ?? [];
  return features?.trim().split(/\s+/);
}
