import { describe, expect, it } from 'vitest';
import { softmaxClassifier } from '../../../test/support/onnx-models.ts';
import { fullToken } from '../process/local-tokens.ts';
import { createTokenCheck } from './access.ts';
import { type ServedFront, serveFront } from './front-fixture.ts';
import { createRepositoryChannel, type RepositoryChannel } from './repository.ts';

const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

describe('tokens of local callers', () => {
  const paths = {
    read: '/v2',
    infer: '/v2/models/m/infer',
    feedback: '/feedback/i',
    load: '/v2/repository/models/m/load',
  };
  let now = 0;
  const limited = [
    { ...fullToken('camera-token'), name: 'camera', rights: ['infer' as const] },
    { ...fullToken('label-token'), name: 'labels', rights: ['feedback' as const] },
    { ...fullToken('reader-token'), name: 'reader', rights: [] },
    { ...fullToken('slow-token'), name: 'slow', rights: ['infer' as const], perSecond: 0.5, burst: 2 },
  ];

  async function guarded(use: (front: ServedFront) => Promise<void>): Promise<void> {
    const repository: RepositoryChannel = createRepositoryChannel((message) => {
      if (message.kind !== 'repository') return;
      setImmediate(() => repository.settle({ kind: 'repository_result', requestId: message.requestId }));
    });
    const checkToken = createTokenCheck({ tokens: [fullToken('the-old-one'), ...limited], nowMs: () => now });
    const front = await serveFront({ checkToken, repository });
    try {
      await front.load('m', softmaxClassifier([[1, -1]], [0, 0]));
      await use(front);
    } finally {
      await front.close();
    }
  }
  const inputs = [{ name: 'features', datatype: 'FP32', shape: [1, 1], data: [1] }];

  it('may do what their rights say, on every way to it, and read', () =>
    guarded(async (front) => {
      const statusOf = async (token: string) => ({
        read: (await front.get(paths.read, bearer(token))).status,
        infer: (await front.post(paths.infer, { inputs }, bearer(token))).status,
        feedback: (await front.post(paths.feedback, { label: 'x' }, bearer(token))).status,
        load: (await front.post(paths.load, {}, bearer(token))).status,
      });
      // Nobody takes labels here, so who may report them is told 503.
      expect(await statusOf('the-old-one')).toEqual({ read: 200, infer: 200, feedback: 503, load: 200 });
      expect(await statusOf('camera-token')).toEqual({ read: 200, infer: 200, feedback: 403, load: 403 });
      expect(await statusOf('label-token')).toEqual({ read: 200, infer: 403, feedback: 503, load: 403 });
      expect(await statusOf('reader-token')).toEqual({ read: 200, infer: 403, feedback: 403, load: 403 });
      expect(await statusOf('another')).toEqual({ read: 401, infer: 401, feedback: 401, load: 401 });
      const predicted = await front.post('/predict/m', { features: [1] }, bearer('label-token'));
      expect([predicted.status, predicted.json()]).toEqual([
        403,
        { error: 'the token "labels" may not ask models: it lacks the right "infer" (it has feedback)' },
      ]);
      for (const spelled of ['/v2/repository/models/m/%75nload', '/%66eedback/i'])
        expect((await front.post(spelled, { label: 'x' }, bearer('camera-token'))).status).toBeGreaterThanOrEqual(403);
    }));

  it('are the token and nothing else of the header', () => {
    const check = createTokenCheck({ tokens: [fullToken('secret-token')], nowMs: () => 0 });
    const unauthorized = expect.objectContaining({ code: 'unauthorized' });
    for (const header of [undefined, '', 'secret-token', 'Basic secret-token', 'Bearer secret-token ', 'Bearer ']) {
      expect(() => check(header, '/v2', undefined), String(header)).toThrow(unauthorized);
    }
    check('Bearer secret-token', '/v2', undefined);
    check('bearer secret-token', '/v2', undefined);
    check(undefined, '/healthz', undefined);
  });

  it('that send too fast are told when to come back, and others go on', () =>
    guarded(async (front) => {
      const ask = () => front.post(paths.infer, { inputs }, bearer('slow-token'));
      const statuses = [await ask(), await ask(), await ask()].map(({ status }) => status);
      expect(statuses).toEqual([200, 200, 429]);
      const refused = await ask();
      expect(refused.headers['retry-after']).toBe('2');
      expect(refused.json()).toEqual({ error: expect.stringMatching(/"slow" may send 0\.5 requests a second/) });
      expect((await front.post(paths.infer, { inputs }, bearer('camera-token'))).status).toBe(200);
      now += 1999;
      expect((await ask()).status).toBe(429);
      now += 2;
      expect((await ask()).status).toBe(200);
      expect((await ask()).status).toBe(429);
      // What was not used is not saved up beyond the burst.
      now += 3_600_000;
      expect([await ask(), await ask(), await ask()].map(({ status }) => status)).toEqual([200, 200, 429]);
    }));
});
