import { expect, it } from 'vitest';
import { ExactRetained } from './retained.ts';

async function laidOut(topics: string[]): Promise<ExactRetained> {
  const retained = new ExactRetained();
  for (const topic of topics) await store(retained, topic, 'x');
  return retained;
}
const store = (retained: ExactRetained, topic: string, payload: string) =>
  retained.storeRetained({
    ...{ cmd: 'publish', qos: 1, dup: false, retain: true, topic, payload: Buffer.from(payload) },
    ...{ brokerId: 'b', brokerCounter: 1 },
  });
const found = async (retained: ExactRetained, ...patterns: string[]) => {
  const topics: string[] = [];
  for await (const packet of retained.createRetainedStreamCombi(patterns)) topics.push(packet.topic);
  return topics;
};

it('gives what was retained under a topic, until it is cleared', async () => {
  const retained = await laidOut(['fleet/a/desired', 'fleet/b/desired']);
  expect(await found(retained, 'fleet/a/desired', 'fleet/c/desired')).toEqual(['fleet/a/desired']);
  await store(retained, 'fleet/a/desired', '');
  expect(await found(retained, 'fleet/a/desired')).toEqual([]);
});

it('knows wildcards', async () => {
  const retained = await laidOut(['fleet/a/desired', 'fleet/a/reported', 'other']);
  expect(await found(retained, 'fleet/+/desired')).toEqual(['fleet/a/desired']);
  expect(await found(retained, 'fleet/#')).toEqual(['fleet/a/desired', 'fleet/a/reported']);
  expect(await found(retained, '+/desired')).toEqual([]);
});

it('does not look through the retained messages of the others for an exact topic', async () => {
  const retained = await laidOut(Array.from({ length: 20_000 }, (_, i) => `fleet/d${i}/desired`));
  const started = process.cpuUsage();
  for (let i = 0; i < 200; i++) expect(await found(retained, `fleet/d${i}/desired`)).toHaveLength(1);
  const { user } = process.cpuUsage(started);
  // Looking through 20,000 takes 5 ms and more each.
  expect(user / 200).toBeLessThan(2500);
});
