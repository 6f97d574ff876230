// A classifier as scikit-learn's converter writes it, pushed with a manifest that names no classes: the names in the file reach
// answers, feedback, accuracy and the classes that a fleet counts.
import { MetricResult } from '@edgeloop/shared/api/metrics';
import { ModelVersionDetail } from '@edgeloop/shared/api/models';
import { WindowResult } from '@edgeloop/shared/api/windows';
import { expect, test } from 'vitest';
import { mlClassifier } from '../../shared/src/onnx/classifier-fixture.ts';
import { metricTotal, predict, release, rolloutIn, serves } from '../support/fleet.ts';
import { versionForm } from '../support/models.ts';
import { oneAgentFleet } from '../support/one-agent.ts';
import { until } from '../support/until.ts';

const fleet = oneAgentFleet({ EDGELOOP_WINDOW_SECONDS: '1' });

test('right answers count as right by the names in the file', { timeout: 180_000 }, async () => {
  const { plane, agent } = fleet();
  const bytes = mlClassifier(
    [
      [1, 0],
      [0, 1],
      [0, 0],
    ],
    ['setosa', 'versicolor', 'virginica'],
    { zipMap: true },
  );
  const form = versionForm(bytes, {
    manifest: { task: 'classification', inputs: { x: { features: ['a', 'b'] } } },
  });
  const pushed = await plane.api.send('POST', '/models/iris/versions', ModelVersionDetail, form);
  expect(pushed.io).toMatchObject({
    outputs: [{ name: 'label' }, { name: 'probabilities', datatype: 'FP32' }],
    classNames: ['setosa', 'versicolor', 'virginica'],
  });
  await rolloutIn(plane, await release(plane, 'iris', pushed.version), ['completed']);
  await serves(agent, 'iris', pushed.version);

  const feedback = (id: string, label: string) =>
    fetch(`${agent.url}/feedback/${id}`, { method: 'POST', body: JSON.stringify({ label }) });
  for (let at = 0; at < 6; at++) {
    const answer = await predict(agent.url, 'iris', { a: 5, b: at / 10 });
    expect(answer.label).toBe('setosa');
    expect((await feedback(answer.id, 'setosa')).status).toBe(202);
    if (at > 0) continue;
    const unknown = await feedback(answer.id, 'rose');
    expect([unknown.status, await unknown.text()]).toEqual([400, expect.stringContaining('knows \\"setosa\\"')]);
  }
  await until('six labels', async () => (await metricTotal(plane, 'labels', { model: 'iris' })) === 6 || undefined, {
    timeoutMs: 60_000,
    context: agent.program.output,
  });
  expect(await metricTotal(plane, 'accuracy', { model: 'iris' })).toBe(1);
  const counted = await until(
    'rows by class',
    async () => {
      const { series } = await plane.api.get('/metrics/query', MetricResult, {
        metric: 'rows',
        model: 'iris',
        groupBy: 'class',
        from: Date.now() - 3_600_000,
        to: Date.now() + 120_000,
      });
      return series.some(({ labels }) => labels.class === 'setosa') ? series : undefined;
    },
    { timeoutMs: 60_000, context: agent.program.output },
  );
  const classes = counted.map(({ labels }) => labels.class);
  expect(['setosa', 'versicolor', 'virginica']).toEqual(expect.arrayContaining(classes));

  const seen = await until(
    'windows with labels and the machine',
    async () => {
      const asked = { model: 'iris', version: pushed.version, to: Date.now() + 120_000, from: Date.now() - 3_600_000 };
      const result = await plane.api.get('/metrics/window', WindowResult, asked);
      return result.window?.labelled?.labels === 6 && result.window.resources ? result : undefined;
    },
    { timeoutMs: 60_000, context: agent.program.output },
  );
  const { window, signals } = seen;
  expect(window?.labelled).toMatchObject({ correct: 6, confusion: { setosa: { setosa: 6 } } });
  expect(window?.resources?.memory?.max).toBeGreaterThan(0);
  expect(window?.queueMs?.count).toBe(window?.succeeded);
  expect(window?.sampled?.features).toBe(window?.rows);
  expect(signals.a).toMatchObject({ count: window?.rows, missing: 0, max: 5 });
  expect(signals['output:confidence']?.count).toBe(window?.rows);
});
