import { describe, expect, it } from 'vitest';
import { softmaxClassifier } from '../../../test/support/onnx-models.ts';
import type { ToSupervisor } from '../process/ipc.ts';
import { fullToken } from '../process/local-tokens.ts';
import { createTokenCheck } from './access.ts';
import { mergedTexts } from './exposition.ts';
import { serveFront, ways } from './front-fixture.ts';
import { createNeighbours } from './neighbours.ts';

describe('the neighbours of a serving process', () => {
  it('agree with it where the sequences of a model live', () => {
    const all = [0, 1, 2].map((process) => createNeighbours({ process, count: 3 }, () => undefined));
    const homes = Array.from({ length: 30 }, (_, i) => {
      const told = all.map((each, place) => each.homeOf(`model-${i}`) ?? place);
      expect(new Set(told).size).toBe(1);
      return told[0];
    });
    expect(new Set(homes)).toEqual(new Set([0, 1, 2]));
  });

  it('are asked once for what many requests want of a rate meanwhile, and each gets its own answer', async () => {
    const asked: Extract<ToSupervisor, { kind: 'tokens_wanted' }>[] = [];
    const neighbours = createNeighbours({ process: 0, count: 2 }, (message) => {
      if (message.kind === 'tokens_wanted') asked.push(message);
    });
    const answer = (granted: number, retryAfterSeconds: number) =>
      neighbours.settle({ kind: 'tokens_result', requestId: asked.at(-1)?.requestId ?? 0, granted, retryAfterSeconds });
    const first = neighbours.takeToken('slow');
    const others = [neighbours.takeToken('slow'), neighbours.takeToken('slow')];
    const another = neighbours.takeToken('other');
    expect(asked.map(({ token, count }) => [token, count])).toEqual([
      ['slow', 1],
      ['other', 1],
    ]);
    answer(1, 0);
    expect(await another).toBe(0);
    neighbours.settle({
      kind: 'tokens_result',
      requestId: asked[0]?.requestId ?? 0,
      granted: 1,
      retryAfterSeconds: 0,
    });
    expect(await first).toBe(0);
    expect(asked.at(-1)).toMatchObject({ token: 'slow', count: 2 });
    answer(1, 4);
    expect(await Promise.all(others)).toEqual([0, 4]);
    const later = neighbours.takeToken('slow');
    answer(0, 3);
    expect(await later).toBe(3);
  });

  it('refuse a request of a sequence that is too large to be handed to and fro', async () => {
    const neighbours = createNeighbours({ process: 0, count: 2 }, () => expect.unreachable());
    const call = { form: 'http', model: 'm', url: '', headers: {}, body: 'x'.repeat(12_000_000) } as const;
    await expect(neighbours.forward(1, call)).rejects.toMatchObject({ code: 'payload_too_large' });
  });
});

describe.each(ways)('a rate that is counted elsewhere, for requests read %s', (_, plain) => {
  it('lets in and refuses on every way', async () => {
    let waitSeconds = 0;
    const tokens = [{ ...fullToken('slow-token'), name: 'slow', perSecond: 2 }];
    const checkToken = createTokenCheck({ tokens, nowMs: () => 0, takeElsewhere: async () => waitSeconds });
    const front = await serveFront({ checkToken }, plain);
    try {
      await front.load('m', softmaxClassifier([[1, -1]], [0, 0]));
      const inputs = [{ name: 'features', datatype: 'FP32', shape: [1, 1], data: [1] }];
      const headers = { authorization: 'Bearer slow-token' };
      const both = async () => [
        await front.post('/v2/models/m/infer', { inputs }, headers),
        await front.get('/v2', headers),
      ];
      expect((await both()).map(({ status }) => status)).toEqual([200, 200]);
      waitSeconds = 3;
      for (const refused of await both()) {
        expect([refused.status, refused.headers['retry-after']]).toEqual([429, '3']);
        expect(refused.json()).toEqual({ error: 'the token "slow" may send 2 requests a second; try again in 3 s' });
      }
    } finally {
      await front.close();
    }
  });
});

describe('metrics of several processes', () => {
  it('stand together under one head each', () => {
    const text = (process: number) =>
      `# HELP a What.\n# TYPE a gauge\na{process="${process}"} 1\n\n# HELP b Other.\n# TYPE b counter\nb{process="${process}"} ${process}\n`;
    expect(mergedTexts([text(0), text(1)])).toBe(
      [
        '# HELP a What.\n# TYPE a gauge\na{process="0"} 1\na{process="1"} 1\n',
        '# HELP b Other.\n# TYPE b counter\nb{process="0"} 0\nb{process="1"} 1\n',
      ].join('\n'),
    );
  });
});
