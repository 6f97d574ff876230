// A new version runs in the shadow of the old one on live inputs: what it says decides whether it ever answers.
import { Sample } from '@edgeloop/shared/api/data';
import { pageOf } from '@edgeloop/shared/api/paging';
import { RolloutDetail } from '@edgeloop/shared/api/rollouts';
import { expect, test } from 'vitest';
import { predict, pushVersion, release, rolloutIn, serves } from '../support/fleet.ts';
import { oneAgentFleet } from '../support/one-agent.ts';
import { until } from '../support/until.ts';

const fleet = oneAgentFleet({ EDGELOOP_PROBATION_SECONDS: '1' });
const waves = [{ percent: 100, kind: 'shadow', processorShare: 1 }, { percent: 100 }];
const gates = { minRequests: 0, shadow: { minCompared: 20 } };

/** Asks until the rollout is in the phase; gives the versions that answered while it was in its first wave. */
async function answeringUntil(
  rollout: string,
  phase: string,
): Promise<{ versions: Set<number>; ended: RolloutDetail }> {
  const { plane, agent } = fleet();
  const versions = new Set<number>();
  let last = '';
  const ended = await until(
    `rollout ${phase}`,
    async () => {
      const answers: number[] = [];
      for (let i = 1; i <= 10; i++) {
        const positive = i % 2 === 0;
        const answer = await predict(agent.url, 'sum', positive ? { a: i, b: i } : { a: -i, b: -i });
        expect(answer.label).toBe(positive ? 'high' : 'low');
        answers.push(Number(answer.version));
      }
      const detail = await plane.api.get(`/rollouts/${rollout}`, RolloutDetail);
      last = `${JSON.stringify(detail, null, 1)}\n${agent.program.output()}`;
      const { state } = detail;
      if (state.phase !== 'completed' && !(state.phase === 'running' && state.wave > 0))
        for (const version of answers) versions.add(version);
      return state.phase === phase ? detail : undefined;
    },
    { timeoutMs: 90_000, context: () => last },
  );
  return { versions, ended };
}

test('a shadow that disagrees stops before it answers anybody, and one that agrees goes on to serve', {
  timeout: 240_000,
}, async () => {
  const { plane, agent } = fleet();
  const good = await pushVersion(plane, 'sum');
  await rolloutIn(plane, await release(plane, 'sum', good), ['completed']);
  await serves(agent, 'sum', good);

  const contrary = await pushVersion(plane, 'sum', { weight: -1 });
  const stopped = await answeringUntil(await release(plane, 'sum', contrary, { waves, gates }), 'rolled_back');
  expect([...stopped.versions]).toEqual([good]);
  expect(stopped.ended.waves).toMatchObject([{ wave: 0, outcome: 'failed' }]);
  expect(stopped.ended.state).toMatchObject({
    reason: expect.stringMatching(/^wave 1 \(shadow\): 0 % of \d+ answers in the shadow agree/),
  });
  expect(stopped.ended.devices).toMatchObject([
    { state: 'rolled_back', detail: expect.stringContaining('alone again') },
  ]);
  const samples = await until('disagreements', async () => {
    const page = await plane.api.get('/samples', pageOf(Sample), { model: 'sum', limit: 500 });
    const disagreed = page.items.filter(({ reason }) => reason === 'disagreement');
    return disagreed.length > 0 ? disagreed : undefined;
  });
  for (const { version, predicted, other } of samples) {
    expect(version).toBe(good);
    expect(other).toMatchObject({ version: contrary, predicted: predicted === 'high' ? 'low' : 'high' });
  }

  const alike = await pushVersion(plane, 'sum', { bias: 1e-3 });
  const passed = await answeringUntil(await release(plane, 'sum', alike, { waves, gates }), 'completed');
  expect([...passed.versions]).toEqual([good]);
  expect(passed.ended.waves).toMatchObject([
    { wave: 0, outcome: 'passed' },
    { wave: 1, outcome: 'passed' },
  ]);
  await serves(agent, 'sum', alike);
});
