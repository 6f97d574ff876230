import { afterEach, expect, it, vi } from 'vitest';

afterEach(() => vi.unstubAllEnvs());

it.each([
  ['on', true],
  ['off', false],
])('with isolation %s: no program is written for each schema: %s', async (isolation, expected) => {
  vi.stubEnv('EDGELOOP_ISOLATION', isolation);
  vi.resetModules();
  const { config } = await import('zod');
  const former = config().jitless;
  try {
    config({ jitless: false });
    await import('./parsed-seldom.ts');
    expect(config().jitless).toBe(expected);
  } finally {
    config({ jitless: former });
  }
});
