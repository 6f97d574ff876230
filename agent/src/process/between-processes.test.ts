import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { BetweenProcesses, type SaidBetween } from './between-processes.ts';
import { type Figures, type VersionFigures, wholeFigures } from './figures.ts';
import type { ToServing } from './ipc.ts';

const none = { count: 0, ns: 0 };

function version(succeeded: number, of = 'a'): VersionFigures {
  return {
    model: 'm',
    version: 1,
    of,
    tally: {
      succeeded,
      failed: 0,
      invalid: 0,
      cancelled: 0,
      expired: 0,
      rejected: 0,
      rows: succeeded,
      succeededMs: 2 * succeeded,
      failedMs: 0,
      queueMs: 0,
      runMs: 0,
      inputMs: 0,
      outputMs: 0,
      cacheHits: 0,
      cacheHitMs: 0,
      cacheMisses: 0,
      cacheMissMs: 0,
      outcomes: { ok: succeeded },
      latencies: [succeeded, 0],
    },
    runs: {
      executionCount: succeeded,
      queue: none,
      computeInput: none,
      computeInfer: none,
      computeOutput: none,
      batches: { [1 + (succeeded % 2)]: { input: none, infer: { count: 1, ns: 5 }, output: none } },
      // A step that did not run yet in one of them is left out there.
      steps: succeeded % 2 === 0 ? [] : [{ success: { count: succeeded, ns: 5 }, fail: none, cut: 0 }],
      runsHere: 0,
    },
    lastAtMs: succeeded,
    depth: 1,
  };
}

function figures(...versions: VersionFigures[]): Figures {
  return { versions, journal: { failedWrites: 0, lostRecords: 1, pendingRecords: 2 } };
}

const succeededIn = ({ versions }: Figures) => versions.map(({ tally }) => tally.succeeded);

/** So many processes, which answer with what is theirs; one in `silent` says nothing, one in `away` takes no messages. */
function setUp(count: number) {
  const own: Figures[] = Array.from({ length: count }, () => figures());
  const [silent, away] = [new Set<number>(), new Set<number>()];
  const heard: ToServing[][] = own.map(() => []);
  let now = 0;
  const between = new BetweenProcesses({
    count,
    tokens: [{ name: 'slow', sha256: 'f'.repeat(64), rights: [], perSecond: 1, burst: 3 }],
    nowMs: () => now,
    send(to, message) {
      if (away.has(to)) return false;
      heard[to]?.push(message);
      const { [to]: mine } = own;
      if (message.kind === 'tell_figures' && mine && !silent.has(to))
        between.said(to, { kind: 'figures', requestId: message.requestId, own: mine }, () => undefined);
      return true;
    },
  });
  const ask = (process: number, said: SaidBetween) =>
    new Promise<ToServing>((resolve) => between.said(process, said, resolve));
  /** What the process in this place tells who asks it. */
  const whole = async (process: number): Promise<Figures> => {
    const mine = own[process] ?? expect.unreachable();
    const result = await ask(process, { kind: 'figures_wanted', requestId: 7, own: mine });
    if (result.kind !== 'figures_result') return expect.unreachable();
    expect(result.requestId).toBe(7);
    return wholeFigures(mine, result.others);
  };
  const pass = (ms: number) => {
    now += ms;
  };
  return { between, own, silent, away, heard, ask, whole, pass };
}

describe('what several serving processes count', () => {
  it('is told as one, by whichever is asked, apart from what stands for other bytes', async () => {
    const { own, whole } = setUp(3);
    own[0] = figures(version(3));
    own[1] = figures(version(4), { ...version(9), version: 2 });
    own[2] = figures(version(100, 'other bytes'));
    const told = await whole(0);
    expect(told.versions).toMatchObject([
      {
        tally: { succeeded: 7, succeededMs: 14, outcomes: { ok: 7 }, latencies: [7, 0] },
        runs: {
          executionCount: 7,
          batches: { 1: { infer: { count: 1 } }, 2: { infer: { count: 1 } } },
          steps: [{ success: { count: 3 } }],
        },
        lastAtMs: 4,
        depth: 2,
      },
    ]);
    expect(told.journal).toEqual({ failedWrites: 0, lostRecords: 3, pendingRecords: 6 });
    expect(succeededIn(await whole(1))).toEqual([7, 9]);
  });

  it('is what it said before of one that says nothing, or is away', async () => {
    vi.useFakeTimers();
    try {
      const { between, own, silent, away, whole } = setUp(2);
      own[0] = figures(version(1));
      between.counted(1, figures(version(5)));
      silent.add(1);
      const told = whole(0);
      await vi.advanceTimersByTimeAsync(1000);
      expect(succeededIn(await told)).toEqual([6]);
      away.add(1);
      expect(succeededIn(await whole(0))).toEqual([6]);
    } finally {
      vi.useRealTimers();
    }
  });

  it('never falls, whoever dies and whoever is asked', async () => {
    const event = fc.record({
      process: fc.nat(2),
      kind: fc.constantFrom('answer' as const, 'ask' as const, 'die' as const, 'second' as const),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(event, { maxLength: 40 }), async (events) => {
        const { between, own, whole } = setUp(3);
        own.fill(figures(version(0)));
        let last = 0;
        let answered = 0;
        let unheard = [0, 0, 0];
        for (const { process, kind } of events) {
          const mine = own[process]?.versions[0]?.tally.succeeded ?? 0;
          if (kind === 'answer') {
            own[process] = figures(version(mine + 1));
            unheard[process] = (unheard[process] ?? 0) + 1;
            answered++;
          } else if (kind === 'second') {
            between.counted(process, own[process]);
            unheard[process] = 0;
          } else if (kind === 'die') {
            between.died(process);
            own[process] = figures(version(0));
            answered -= unheard[process] ?? 0;
            unheard[process] = 0;
          } else {
            const [told = 0] = succeededIn(await whole(process));
            expect(told).toBeGreaterThanOrEqual(last);
            expect(told).toBe(answered);
            last = told;
            unheard = [0, 0, 0];
          }
        }
      }),
    );
  });

  it('begins at 0 for a version that nobody held meanwhile', async () => {
    const { between, own, whole } = setUp(2);
    own.fill(figures(version(5)));
    await whole(0);
    between.died(1);
    own.fill(figures());
    await whole(0);
    own.fill(figures(version(1)));
    expect(succeededIn(await whole(0))).toEqual([2]);
  });
});

describe('the rate of a token', () => {
  it('is that of all processes together', async () => {
    const { ask, pass } = setUp(2);
    const wanted = (count: number) => ({ kind: 'tokens_wanted', requestId: 1, token: 'slow', count }) as const;
    expect(await ask(0, wanted(2))).toMatchObject({ granted: 2, retryAfterSeconds: 0 });
    expect(await ask(1, wanted(2))).toMatchObject({ granted: 1, retryAfterSeconds: 1 });
    pass(1000);
    expect(await ask(0, wanted(1))).toMatchObject({ granted: 1 });
    expect(await ask(1, wanted(1))).toMatchObject({ granted: 0 });
  });
});

describe('a request that belongs to another process', () => {
  const call = { form: 'http', model: 'm', url: '/v2/models/m/infer', headers: {}, body: '' } as const;
  const forward = { kind: 'forward', requestId: 5, to: 1, call } as const;

  it('is answered by it', async () => {
    const { between, ask, heard } = setUp(2);
    const answered = ask(0, forward);
    const [asked] = heard[1] ?? [];
    if (asked?.kind !== 'forwarded_call') return expect.unreachable();
    expect(asked.call).toEqual(call);
    const reply = { form: 'http', status: 200, headers: {}, body: 'eA==' } as const;
    between.said(1, { kind: 'forwarded', requestId: asked.requestId, reply }, () => undefined);
    expect(await answered).toEqual({ kind: 'forward_result', requestId: 5, reply, error: undefined });
  });

  it('is told to come again when that one dies, or is away', async () => {
    const { between, away, ask } = setUp(2);
    const refused = { kind: 'forward_result', error: { code: 'unavailable', retryAfterSeconds: 1 } };
    const answered = ask(0, forward);
    between.died(1);
    expect(await answered).toMatchObject(refused);
    away.add(1);
    expect(await ask(0, forward)).toMatchObject(refused);
  });
});
