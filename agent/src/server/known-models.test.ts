import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { identity } from '../../../test/support/onnx-models.ts';
import { createEngine, type Engine } from '../inference/engine.ts';
import { ModelProcessDied } from '../inference/hosts/worker.ts';
import { createCaller } from '../inference/queueing/hang-up.ts';
import { type KnownModel, ModelFiles } from '../process/ipc.ts';
import { createBodyMemory } from './body-memory.ts';
import { createKnownModels, type Waiting } from './known-models.ts';

const folder = mkdtempSync(join(tmpdir(), 'known-'));
const path = join(folder, 'model.onnx');
writeFileSync(path, identity('float', ['n']));
const opened: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const each of opened.splice(0)) await each.close();
});
afterAll(() => rmSync(folder, { recursive: true }));

/** An engine without models, and how many of its leases were not given back. */
function openEngine() {
  const engine = createEngine({
    threads: 1,
    onCrash: (_, error) => {
      throw error;
    },
  });
  const held = new Set<() => void>();
  const lease: Engine['lease'] = (name, version) => {
    const given = engine.lease(name, version);
    const release = (): void => {
      if (held.delete(release)) given.release();
    };
    held.add(release);
    return { ...given, release };
  };
  opened.push({
    close() {
      for (const release of held) release();
      return engine.close();
    },
  });
  return { engine: { ...engine, lease }, leases: () => held.size };
}

const coming = (version: number): KnownModel => ({
  name: 'm',
  version,
  state: 'LOADING',
  reason: 'it is being loaded',
  soon: true,
});
const files = (version: number, onTrial = false) =>
  ModelFiles.parse({ name: 'm', version, path, manifest: {}, onTrial });

function asking(totalBytes = 1e6): Waiting & { hangUp(): void } {
  const caller = createCaller();
  const hold = createBodyMemory({ totalBytes, keptBytes: 0 }).hold();
  return { model: 'm', version: undefined, caller, hold, hangUp: caller.hangUp };
}

function refusal(lease: Engine['lease'], version?: number): unknown {
  try {
    lease('m', version);
  } catch (error) {
    return error;
  }
  throw new Error('it was leased');
}

describe('callers of a model that is not there', () => {
  it('wait for one that comes in a moment, by its name or its number, until it answers', async () => {
    const { engine } = openEngine();
    const known = createKnownModels(engine);
    known.set([coming(1)]);
    const byName = known.arrivals.next(refusal(known.engine.lease), asking());
    const byNumber = known.arrivals.next(refusal(known.engine.lease, 1), { ...asking(), version: '1' });
    await known.engine.load(files(1));
    expect((await byNumber).version).toBe(1);
    known.engine.activate('m', 1);
    expect((await byName).version).toBe(1);
  });

  it('are told at once of one that takes longer, and of one that is unknown', async () => {
    const known = createKnownModels(openEngine().engine);
    known.set([{ ...coming(1), soon: false }]);
    await expect(known.arrivals.next(refusal(known.engine.lease), asking())).rejects.toMatchObject({
      code: 'unavailable',
      retryAfterSeconds: 1,
    });
    known.set([]);
    await expect(known.arrivals.next(refusal(known.engine.lease), asking())).rejects.toMatchObject({
      code: 'not_found',
    });
  });

  it('are told when it does not come after all, when it is late, and when the server stops', async () => {
    const known = createKnownModels(openEngine().engine, 100);
    const wait = () => {
      known.set([coming(1)]);
      return known.arrivals.next(refusal(known.engine.lease), asking());
    };
    const failed = wait();
    known.set([{ ...coming(1), state: 'UNAVAILABLE', reason: 'it failed' }]);
    await expect(failed).rejects.toMatchObject({ code: 'not_found', message: expect.stringMatching(/it failed/) });
    await expect(wait()).rejects.toMatchObject({ code: 'unavailable' });
    const stopped = wait();
    known.close();
    await expect(stopped).rejects.toMatchObject({ code: 'unavailable' });
  });

  it('wait no longer once they hang up, and no more of them than there is memory for', async () => {
    const known = createKnownModels(openEngine().engine);
    known.set([coming(1)]);
    const error = refusal(known.engine.lease);
    const asked = asking();
    const waits = known.arrivals.next(error, asked);
    asked.hangUp();
    await expect(waits).rejects.toBe(error);
    await expect(known.arrivals.next(error, asking(1000))).rejects.toThrow(/too many/);
  });
});

describe('callers of a version whose own process died', () => {
  const crash = new ModelProcessDied('it was ended by SIGFPE', true);
  const kill = new ModelProcessDied('it was ended by SIGKILL', false);

  it('are answered by the version that takes its place, when it was on trial', async () => {
    const { engine, leases } = openEngine();
    const known = createKnownModels(engine);
    await known.engine.load(files(1));
    await known.engine.load(files(2, true));
    known.engine.activate('m', 2);
    const failed = known.engine.lease('m');
    const next = known.arrivals.successor(crash, failed, asking());
    known.engine.activate('m', 1);
    const found = await next;
    expect(found.version).toBe(1);
    failed.release();
    found.release();
    expect(leases()).toBe(0);
  });

  it('are told at once when nothing takes its place', async () => {
    const known = createKnownModels(openEngine().engine, 100);
    await known.engine.load(files(1));
    known.engine.activate('m', 1);
    await expect(known.arrivals.successor(crash, known.engine.lease('m'), asking())).rejects.toBe(crash);
  });

  it('ask it again when it was killed from outside', async () => {
    const known = createKnownModels(openEngine().engine);
    await known.engine.load(files(1));
    known.engine.activate('m', 1);
    expect((await known.arrivals.successor(kill, known.engine.lease('m'), asking())).version).toBe(1);
  });
});
