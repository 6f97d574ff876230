import { AppError } from '@edgeloop/shared/errors';
import fc from 'fast-check';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { ServingGone } from '../process/calls.ts';
import type { ModelFiles } from '../process/ipc.ts';
import { modelFiles } from '../process/serving-fixture.ts';
import { HeldByAll } from './held-by-all.ts';
import type { Plan, WantedVersion } from './held-versions.ts';

const log = pino({ level: 'silent' });

/** A serving process that insists on what the real one does, and loads nothing of `refused`. */
function servingProcess() {
  const asked: string[] = [];
  const loaded = new Map<string, ModelFiles>();
  const active = new Map<string, number>();
  const refused = new Set<number>();
  const key = (name: string, version: number) => `${name} ${version}`;
  const mustBeLoaded = (name: string, version: number) => {
    if (!loaded.has(key(name, version))) throw new Error(`${key(name, version)} is not loaded`);
  };
  return {
    asked,
    loaded,
    active,
    refused,
    async load(files: ModelFiles) {
      const { name, version } = files;
      asked.push(`load ${key(name, version)}`);
      await new Promise(setImmediate);
      if (refused.has(version)) throw new AppError('model_rejected', 'cannot be loaded');
      loaded.set(key(name, version), files);
    },
    async activate(name: string, version: number) {
      asked.push(`activate ${key(name, version)}`);
      mustBeLoaded(name, version);
      active.set(name, version);
    },
    async unload(name: string, version: number) {
      asked.push(`unload ${key(name, version)}`);
      mustBeLoaded(name, version);
      loaded.delete(key(name, version));
      if (active.get(name) === version) active.delete(name);
    },
  };
}

function wanted(version: number, more: Partial<WantedVersion> & { name?: string } = {}): WantedVersion {
  const { name = 'm', ...rest } = more;
  return { version, files: async () => modelFiles({ name, version, path: `${name}/${version}` }), ...rest };
}

function plan(hold: WantedVersion[], answers: number[]): () => Plan {
  return () => ({ hold, answers });
}

function setUp(oneAtATime = true) {
  const serving = servingProcess();
  return { serving, held: new HeldByAll({ processes: [serving], oneAtATime, log }) };
}

/** Something that is waited for until `open` is called. */
function gate() {
  let open = (): void => undefined;
  const passed = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { passed, open: () => open() };
}

describe('the versions that the serving process holds', () => {
  it('become those of the plan: the best answers first, and what is left over goes last', async () => {
    const { serving, held } = setUp();
    await held.align('m', plan([wanted(1)], [1]));
    await held.align('m', plan([wanted(2), wanted(3)], [2]));
    expect(serving.asked.slice(2)).toEqual(['load m 2', 'activate m 2', 'load m 3', 'unload m 1']);
    expect(held.versionsOf('m')).toEqual([2, 3]);
  });

  it('leave what is held as it is when one that is needed cannot be loaded', async () => {
    const { serving, held } = setUp();
    await held.align('m', plan([wanted(1)], [1]));
    serving.refused.add(2);
    const failed = await held.align('m', plan([wanted(2, { needed: true }), wanted(3)], [2]));
    expect(failed).toEqual([{ version: 2, error: expect.objectContaining({ code: 'model_rejected' }) }]);
    expect(serving.asked.slice(2)).toEqual(['load m 2']);
    expect(serving.active.get('m')).toBe(1);
  });

  it('do without one that is not needed: the next best answers', async () => {
    const { serving, held } = setUp();
    serving.refused.add(3);
    const failed = await held.align('m', plan([wanted(1), wanted(2), wanted(3)], [3, 2, 1]));
    expect(failed.map(({ version }) => version)).toEqual([3]);
    expect(serving.active.get('m')).toBe(2);
  });

  it('are loaded anew under the same number when they are another model', async () => {
    const { serving, held } = setUp();
    await held.align('m', plan([wanted(1, { identity: 'a' })], [1]));
    await held.align('m', plan([wanted(1, { identity: 'a' })], [1]));
    await held.align('m', plan([wanted(1, { identity: 'b' })], [1]));
    // In one step: the number answers all the time.
    expect(serving.asked).toEqual(['load m 1', 'activate m 1', 'load m 1']);
  });

  it('go on answering while what is to follow cannot be loaded', async () => {
    const { serving, held } = setUp();
    await held.align('m', plan([wanted(1)], [1]));
    serving.refused.add(2);
    await held.align('m', plan([wanted(2)], [2]));
    expect(serving.active.get('m')).toBe(1);
  });

  it('answer with the next best one until the best is there', async () => {
    const { serving, held } = setUp();
    await held.align('m', plan([wanted(1), wanted(2)], [2, 1]));
    expect(serving.asked).toEqual(['load m 1', 'activate m 1', 'load m 2', 'activate m 2']);
  });

  it('answer without waiting for another model that takes long to load', async () => {
    const { serving, held } = setUp();
    await held.align('m', plan([wanted(1), wanted(2)], [2]));
    const long = gate();
    const slow = held.align('slow', plan([wanted(1, { files: () => long.passed.then(filesOf('slow')) })], [1]));
    await held.align('m', plan([wanted(1)], [1]));
    expect(serving.active.get('m')).toBe(1);
    long.open();
    await slow;
  });

  it('are not held when other bytes may have been loaded than were checked', async () => {
    const { serving, held } = setUp();
    const changed = async () => {
      throw new AppError('integrity', 'it was changed meanwhile');
    };
    const failed = await held.align('m', plan([wanted(1, { confirm: changed })], [1]));
    expect(failed).toEqual([{ version: 1, error: expect.objectContaining({ code: 'integrity' }) }]);
    expect(serving.loaded.size).toBe(0);
    expect(serving.asked).not.toContain('activate m 1');
  });

  it('follow a plan that changes while something is loaded', async () => {
    const { serving, held } = setUp();
    let now = plan([wanted(1)], [1])();
    const change = async () => {
      now = plan([wanted(2)], [2])();
      return modelFiles({ name: 'm', version: 1, path: 'm/1' });
    };
    now = plan([wanted(1, { files: change })], [1])();
    await held.align('m', () => now);
    expect(serving.asked).toEqual(['load m 1', 'load m 2', 'activate m 2', 'unload m 1']);
  });

  it('are changed for one model at a time, or for each in its own turns', async () => {
    for (const oneAtATime of [true, false]) {
      const { serving, held } = setUp(oneAtATime);
      const first = gate();
      const waiting = held.align(
        'a',
        plan([wanted(1, { name: 'a', files: () => first.passed.then(filesOf('a')) })], [1]),
      );
      const other = held.align('b', plan([wanted(1, { name: 'b' })], [1]));
      if (!oneAtATime) await other;
      first.open();
      await Promise.all([waiting, other]);
      const [before, after] = oneAtATime ? ['a', 'b'] : ['b', 'a'];
      expect(serving.asked.filter((each) => each.startsWith('load'))).toEqual([`load ${before} 1`, `load ${after} 1`]);
    }
  });

  it('are aligned beside each other after a restart, each with its own outcome', async () => {
    const { serving, held } = setUp();
    const together = gate();
    let reading = 0;
    const files = (name: string) => async () => {
      reading++;
      if (reading === 2) together.open();
      await together.passed;
      return filesOf(name)();
    };
    serving.refused.add(2);
    const outcome = new Map<string, number[]>();
    await held.alignAll(
      0,
      ['a', 'b'],
      (name) => plan([wanted(name === 'a' ? 1 : 2, { name, files: files(name) })], [1, 2])(),
      (name, failed) =>
        outcome.set(
          name,
          failed.map(({ version }) => version),
        ),
    );
    expect(outcome).toEqual(
      new Map([
        ['a', []],
        ['b', [2]],
      ]),
    );
  });

  it('never let a candidate answer that was superseded while it was loaded', async () => {
    const { serving, held } = setUp();
    const stop = new AbortController();
    const superseded = async () => {
      stop.abort();
      return filesOf('m')();
    };
    await expect(held.admit('m', wanted(1, { files: superseded }), stop.signal)).rejects.toThrow(/aborted/);
    expect(serving.asked).toEqual(['load m 1']);
  });
});

function filesOf(name: string, version = 1): () => ModelFiles {
  return () => modelFiles({ name, version, path: `${name}/${version}` });
}

describe('a fresh serving process', () => {
  it('waits for no work that was begun for the former one, which ends with its next step', async () => {
    const { serving, held } = setUp();
    const former = gate();
    const late = () => former.passed.then(filesOf('m'));
    const old = held.align('m', plan([wanted(1, { files: late })], [1]));
    const queued = held.align('m', plan([wanted(2)], [2]));
    const ended = [old, queued].map((work) => expect(work).rejects.toBeInstanceOf(ServingGone));
    held.reset(0);
    await held.align('m', plan([wanted(3)], [3]));
    former.open();
    await Promise.all(ended);
    expect(serving.asked).toEqual(['load m 3', 'activate m 3']);
    expect(held.versionsOf('m')).toEqual([3]);
  });

  it('makes a failure of the former one say nothing of the model', async () => {
    const { held } = setUp();
    const former = gate();
    const broken = async () => {
      await former.passed;
      throw new AppError('integrity', 'the release is damaged');
    };
    const ended = expect(held.align('m', plan([wanted(1, { files: broken })], [1]))).rejects;
    held.reset(0);
    former.open();
    await ended.toBeInstanceOf(ServingGone);
  });

  it('still knows what the former one had loaded', async () => {
    const { held } = setUp();
    const files = async () => ({ ...filesOf('m')(), digest: 'd' });
    await held.align('m', plan([wanted(1, { files })], [1]));
    held.reset(0);
    expect(held.loadedAs('m', 1, 0)).toEqual({ digest: 'd' });
  });
});

/** Two processes that are to hold the same; `asked` in the order of both. */
function setUpTwo() {
  const asked: string[] = [];
  const processes = [servingProcess(), servingProcess()] as const;
  for (const [place, serving] of processes.entries()) {
    serving.asked.push = (...words) => asked.push(...words.map((each) => `${place}: ${each}`));
  }
  return { asked, processes, held: new HeldByAll({ processes, oneAtATime: true, log }) };
}

describe('several serving processes', () => {
  it('let a version take the place of another only when all have loaded it', async () => {
    const { asked, processes, held } = setUpTwo();
    await held.align('m', plan([wanted(1)], [1]));
    asked.length = 0;
    const slow = gate();
    const { load } = processes[1];
    processes[1].load = async (files) => {
      await slow.passed;
      await load(files);
    };
    const aligned = held.align('m', plan([wanted(2)], [2]));
    for (let turns = 0; turns < 20; turns++) await new Promise(setImmediate);
    expect(asked).toEqual(['0: load m 2']);
    slow.open();
    expect(await aligned).toEqual([]);
    expect(asked.slice(1, 4)).toEqual(['1: load m 2', '0: activate m 2', '1: activate m 2']);
  });

  it('go on with what answers where one of them cannot load what is to follow, which is told once', async () => {
    const { processes, held } = setUpTwo();
    await held.align('m', plan([wanted(1)], [1]));
    processes[1].refused.add(2);
    const failed = await held.align('m', plan([wanted(1), wanted(2)], [2, 1]));
    expect(failed).toMatchObject([{ version: 2, error: { code: 'model_rejected' } }]);
    expect(processes.map(({ active }) => active.get('m'))).toEqual([1, 1]);
    const both = setUpTwo();
    for (const { refused } of both.processes) refused.add(2);
    expect(await both.held.align('m', plan([wanted(2)], [2]))).toHaveLength(1);
  });

  it('admit a candidate in all of them or in none', async () => {
    const { processes, held } = setUpTwo();
    const { signal } = new AbortController();
    await held.align('m', plan([wanted(1)], [1]));
    processes[0].refused.add(2);
    await expect(held.admit('m', wanted(2), signal)).rejects.toThrow('cannot be loaded');
    expect(processes.map(({ active }) => active.get('m'))).toEqual([1, 1]);
    await held.admit('m', wanted(3), signal);
    expect(processes.map(({ active }) => active.get('m'))).toEqual([3, 3]);
    processes[1].load = async () => {
      throw new ServingGone('it died');
    };
    await expect(held.admit('m', wanted(4), signal)).rejects.toBeInstanceOf(ServingGone);
    expect(processes.map(({ active }) => active.get('m'))).toEqual([3, 3]);
  });

  it('are aligned without one that is not there, which is brought to the plan when it comes', async () => {
    const { processes, held } = setUpTwo();
    const { load } = processes[1];
    processes[1].load = async () => {
      throw new ServingGone('it is being started');
    };
    processes[0].refused.add(3);
    const both = plan([wanted(2), wanted(3)], [3, 2]);
    expect(await held.align('m', both)).toMatchObject([{ version: 3 }]);
    processes[1].load = load;
    held.reset(1);
    await held.alignAll(
      1,
      ['m'],
      () => plan([wanted(2)], [2])(),
      () => undefined,
    );
    expect(processes.map(({ active }) => active.get('m'))).toEqual([2, 2]);
    processes[0].load = processes[1].load = async () => {
      throw new ServingGone('it is being started');
    };
    await expect(held.align('m', plan([wanted(5)], [5]))).rejects.toBeInstanceOf(ServingGone);
  });

  it('take their turns in one order, so that none waits for another for ever', async () => {
    const { processes, held } = setUpTwo();
    const { signal } = new AbortController();
    await held.align('m', plan([wanted(1)], [1]));
    const [slow, passed] = [gate(), gate()];
    const files = async () => {
      passed.open();
      await slow.passed;
      return filesOf('m', 2)();
    };
    const admitted = held.admit('m', wanted(2, { files }), signal);
    const aligned = held.align('m', plan([wanted(3)], [3]));
    await passed.passed;
    slow.open();
    await Promise.all([admitted, aligned]);
    expect(processes.map(({ active }) => active.get('m'))).toEqual([3, 3]);
  });
});

describe('any order of plans and deaths', () => {
  const version = fc.integer({ min: 1, max: 4 });
  const target = fc.record({
    name: fc.constantFrom('a', 'b'),
    versions: fc.uniqueArray(version, { maxLength: 4 }),
    identity: fc.constantFrom('x', 'y'),
  });
  const event = fc.oneof({ weight: 4, arbitrary: target }, { weight: 1, arbitrary: fc.constant('died' as const) });

  it('ends with the last plan, and never asks for what the process would refuse', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(event, { maxLength: 12 }), fc.boolean(), version, async (events, oneAtATime, bad) => {
        const lives = [servingProcess(), servingProcess()];
        const lifeOf = (place: number) => lives[place] ?? expect.unreachable();
        const processes = [0, 1].map((place) => ({
          load: (files: ModelFiles) => lifeOf(place).load(files),
          activate: (name: string, number: number) => lifeOf(place).activate(name, number),
          unload: (name: string, number: number) => lifeOf(place).unload(name, number),
        }));
        const held = new HeldByAll({ oneAtATime, log, processes });
        const plans = new Map<string, Plan>();
        const planOf = (name: string) => plans.get(name) ?? { hold: [], answers: [] };
        const work: Promise<unknown>[] = [];
        const settle = (aligned: Promise<unknown>) =>
          work.push(aligned.catch((error: unknown) => expect(error).toBeInstanceOf(ServingGone)));
        for (const { refused } of lives) refused.add(bad);
        for (const [number, each] of events.entries()) {
          if (each === 'died') {
            const place = number % 2;
            lives[place] = servingProcess();
            lifeOf(place).refused.add(bad);
            held.reset(place);
            settle(held.alignAll(place, [...plans.keys()], planOf, () => undefined));
          } else {
            const { name, versions, identity } = each;
            plans.set(name, { hold: versions.map((number) => wanted(number, { name, identity })), answers: versions });
            settle(held.align(name, () => planOf(name)));
          }
          await new Promise(setImmediate);
        }
        await Promise.all(work);
        for (const [name, { hold, answers }] of plans) {
          const good = hold.map((each) => each.version).filter((number) => number !== bad);
          for (const { active, loaded } of lives) {
            const holds = [1, 2, 3, 4].filter((number) => loaded.has(`${name} ${number}`));
            // What answered goes on while nothing that is planned can be loaded.
            if (good.length === 0 && hold.length > 0 && holds.length > 0) {
              expect(holds).toEqual([active.get(name)]);
              continue;
            }
            expect(holds).toEqual([...good].sort());
            expect(active.get(name)).toBe(answers.find((number) => number !== bad));
          }
          if (good.length > 0) expect([...held.versionsOf(name)].sort()).toEqual([...good].sort());
        }
      }),
    );
  });
});
