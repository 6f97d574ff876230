import { once } from 'node:events';
import { createServer } from 'node:net';
import { expect, it } from 'vitest';
import { freePorts } from './programs.ts';

it('gives no port twice, and none that is taken', async () => {
  const [first = 0] = await freePorts(1);
  const taken = createServer().listen(first + 1, '127.0.0.1');
  await once(taken, 'listening');
  const ports = [first, ...(await freePorts(200)), ...(await freePorts(200))];
  taken.close();
  expect(new Set(ports).size).toBe(401);
  expect(ports).not.toContain(first + 1);
  // What port 0 and outgoing connections get on Linux begins at 32768.
  expect(Math.max(...ports)).toBeLessThan(32_768);
});
