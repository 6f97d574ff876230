// Approval before named waves: who may give it, for which wave, on what, and what happens while it is waited for.
import { Rollout, RolloutCreate, type RolloutState } from '@edgeloop/shared/api/rollouts';
import { Problem } from '@edgeloop/shared/errors';
import { Hono } from 'hono';
import pino from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { z } from 'zod';
import { auditPage } from '../access/audit.ts';
import { onError } from '../http/problem.ts';
import type { Env } from '../http/router.ts';
import { openRollouts, type World } from './rollouts-fixture.ts';
import { rolloutRoutes } from './routes.ts';

type Plan = Partial<z.input<typeof RolloutCreate>>;
const ids = Array.from({ length: 10 }, (_, i) => `d${i}`);
const waves: Plan['waves'] = [
  { percent: 20, name: 'canary' },
  { percent: 60, name: 'pilot', approval: {} },
  { percent: 100, name: 'fleet', approval: { role: 'admin', fourEyes: true } },
];
const operator = { name: 'key:jo', role: 'operator' } as const;
const admin = { name: 'key:max', role: 'admin' } as const;
let world: World;
beforeEach(async () => {
  world = await openRollouts();
  for (const id of ids) await world.enrol(id, { site: Number(id.slice(1)) < 5 ? 'x' : 'y' });
  await world.release(1, { waves: [{ percent: 100 }] });
  await world.rounds();
});
afterEach(async () => {
  await world.close();
});
const stateOf = async (id: string) => (await world.rollouts.detail(id)).state;
const statusOf = async (id: string) => (await world.rollouts.detail(id)).status ?? '';
const newer = () => Object.values(world.running()).filter((version) => version === 2).length;
async function waitingFor(name: string, plan: Plan = { waves }) {
  const { id } = await world.release(2, plan);
  await world.rounds();
  if (name === 'fleet') {
    await world.rollouts.approve({ ...operator, wave: 'pilot' }, id, '');
    await world.rounds();
  }
  expect(await stateOf(id)).toMatchObject({ phase: 'awaiting_approval', name });
  return id;
}

describe('a named wave that asks for approval', () => {
  it('waits for it, names itself, who may approve and since when, also after a restart', async () => {
    const id = await waitingFor('pilot');
    expect(newer()).toBe(2);
    expect(await stateOf(id)).toMatchObject({ wave: 1, name: 'pilot', after: { wave: 0 } });
    const words =
      /^waits for approval before wave 2 of 3 \(pilot\) since 1970-\S+Z, by a key with the role operator: edgeloop rollouts approve \S+ --wave pilot; wave 1 of 3 \(canary\): 2 of 2 devices healthy, its gates pass$/;
    expect(await statusOf(id)).toMatch(words);
    const before = await stateOf(id);
    world.restart();
    await world.rounds(4);
    expect(await stateOf(id)).toEqual(before);
    expect((await world.rollouts.list({ limit: 1, phase: 'awaiting_approval' })).items[0]?.status).toMatch(words);
    expect((await world.rollouts.detail(id)).waves.map(({ outcome }) => outcome)).toEqual(['passed']);
  });

  it('begins once it is approved, and what was approved stands in history and audit with the evidence', async () => {
    const id = await waitingFor('pilot');
    await world.rollouts.approve({ ...operator, wave: 'pilot' }, id, 'looks well');
    await world.round();
    expect(newer()).toBe(6);
    const told = (await world.rollouts.detail(id)).history.find(({ text }) => text.includes('approved'));
    expect(told).toMatchObject({ text: 'wave 2 of 3 (pilot) approved by key:jo: looks well' });
    expect(told?.evidence?.counts).toEqual({ healthy: 2 });
    expect(told?.evidence?.gates.map(({ gate, verdict }) => [gate, verdict])).toEqual([
      ['failed_devices', 'passed'],
      ['error_rate', 'passed'],
    ]);
    const { items } = await auditPage(world.database, { limit: 20, subject: `rollout/${id}` });
    const [entry] = items.filter(({ action }) => action === 'rollout.approve');
    expect(entry).toMatchObject({ actor: 'key:jo', before: { name: 'pilot' }, after: { phase: 'running', wave: 1 } });
    expect(entry?.after).toMatchObject({ evidence: { counts: { healthy: 2 } } });
    expect(items.map(({ action }) => action)).toContain('rollout.awaiting_approval');
  });

  it('is not begun by an approval of another wave, nor by one that names none', async () => {
    const id = await waitingFor('pilot');
    await expect(world.rollouts.approve(operator, id, '')).rejects.toThrow(/name the wave .*"pilot"/);
    await world.rollouts.approve({ ...operator, wave: 'pilot' }, id, '');
    // The second click of the same person, after the wave has passed.
    await expect(world.rollouts.approve({ ...admin, wave: 'pilot' }, id, '')).rejects.toThrow(
      /it is running|is running/,
    );
    await world.rounds();
    expect(await stateOf(id)).toMatchObject({ name: 'fleet' });
    const stale = world.rollouts.approve({ ...admin, wave: 'pilot' }, id, '');
    await expect(stale).rejects.toThrow(/the approval is for the wave "pilot"; what waits is wave 3 of 3 \(fleet\)/);
    expect(newer()).toBe(6);
  });

  it('is approved by a key with the role only, and with four eyes not by the one that created it', async () => {
    const id = await waitingFor('fleet');
    expect(await statusOf(id)).toContain('by a key with the role admin other than key:test (who created it): edgeloop');
    await expect(world.rollouts.approve({ ...operator, wave: 'fleet' }, id, '')).rejects.toMatchObject({
      code: 'forbidden',
      message: 'the approval of the wave "fleet" needs the role admin; your key "key:jo" has the role operator',
    });
    const creator = { name: 'key:test', role: 'admin', wave: 'fleet' } as const;
    await expect(world.rollouts.approve(creator, id, '')).rejects.toMatchObject({ code: 'forbidden' });
    await world.rounds(3);
    expect(newer()).toBe(6);
    await world.rollouts.approve({ ...admin, wave: 'fleet' }, id, '');
    await world.rounds();
    expect(await world.phase(id)).toBe('completed');
    expect(newer()).toBe(10);
  });

  it('may be the first', async () => {
    const { id, state } = await world.release(2, {
      waves: [{ percent: 50, name: 'first', approval: { role: 'admin' } }, { percent: 100 }],
      approval: true,
    });
    expect(state).toMatchObject({ phase: 'awaiting_approval', wave: 0, name: 'first' });
    await world.rounds(3);
    expect(newer()).toBe(0);
    expect(await statusOf(id)).toMatch(/before wave 1 of 2 \(first\) since .* role admin: .*--wave first$/);
    await world.rollouts.approve({ ...admin, wave: 'first' }, id, '');
    await world.rounds();
    expect(await world.phase(id)).toBe('completed');
  });

  it.each([
    ['passed over since nobody is in it', [{ percent: 50 }, { selector: 'site=none', name: 'pilot', approval: {} }]],
    ['a group that nobody is in, at first', [{ selector: 'site=none' }, { percent: 50, name: 'pilot', approval: {} }]],
    ['empty at first', [{ selector: 'site=none' }, { selector: 'site=no', name: 'pilot', approval: {} }]],
  ] as const)('is waited for all the same when it is %s', async (_, before) => {
    const id = await waitingFor('pilot', { waves: [...before, { percent: 100 }] });
    expect(newer()).toBeLessThan(10);
    await world.rollouts.approve({ ...operator, wave: 'pilot' }, id, '');
    await world.rounds();
    expect(await world.phase(id)).toBe('completed');
  });

  it('is waited for before a rollout completes without it', async () => {
    const id = await waitingFor('fleet', {
      selector: 'site=x',
      waves: [
        { percent: 100 - 1 },
        { percent: 99.5, name: 'pilot', approval: {} },
        { percent: 100, name: 'fleet', approval: {} },
      ],
    });
    expect(await world.phase(id)).toBe('awaiting_approval');
  });
});

describe('while an approval is waited for', () => {
  it('nobody is told, what has the version is judged, and a fault takes it back', async () => {
    const id = await waitingFor('pilot');
    await world.enrol('late', { site: 'x' });
    world.bad.add(2);
    await world.rounds(4);
    expect(await world.phase(id)).toBe('rolled_back');
    expect(newer()).toBe(0);
    const { waves: kept, history } = await world.rollouts.detail(id);
    expect(kept.map(({ outcome }) => outcome)).toEqual(['failed']);
    expect(history.map(({ text }) => text)).toContainEqual(
      expect.stringMatching(/rolling back: wave 1 \(canary\): 2 of/),
    );
  });

  it('a pause, a retry and a resume ask for it again', async () => {
    const id = await waitingFor('pilot');
    await world.rollouts.act('key:test', id, 'pause', 'lunch');
    await world.rounds(3);
    expect(await world.phase(id)).toBe('paused');
    await world.rollouts.act('key:test', id, 'resume', '');
    await world.rounds(3);
    expect(await stateOf(id)).toMatchObject({ phase: 'awaiting_approval', name: 'pilot' });
    expect(newer()).toBe(2);
  });

  it('a cancel leaves who has it, and a rollback takes it back', async () => {
    const first = await waitingFor('pilot');
    await world.rollouts.act('key:test', first, 'cancel', '');
    await world.rounds(3);
    expect(await world.phase(first)).toBe('cancelled');
    expect(newer()).toBe(2);
    const second = await waitingFor('pilot');
    await world.rollouts.act('key:test', second, 'take_back', '');
    await world.rounds(4);
    expect(await world.phase(second)).toBe('rolled_back');
    await expect(world.rollouts.approve({ ...operator, wave: 'pilot' }, second, '')).rejects.toMatchObject({
      code: 'conflict',
    });
  });

  it('its devices are still its own, until a newer rollout takes them', async () => {
    const id = await waitingFor('pilot');
    await world.rounds(3);
    const third = await world.release(3, { waves: [{ percent: 100 }] });
    await world.rounds();
    expect(await world.phase(third.id)).toBe('completed');
    expect(await stateOf(id)).toMatchObject({ phase: 'superseded', by: third.id });
    expect((await world.rollouts.detail(id)).waves.map(({ outcome }) => outcome)).toEqual(['passed']);
  });

  it('a rollout that is taken back everywhere takes back what waits, too', async () => {
    const waits = await waitingFor('pilot', { waves, selector: 'site=x' });
    const other = await world.release(2, { selector: 'site=y', rollbackOf: 'all', waves: [{ percent: 100 }] });
    for (const id of ids.slice(5)) world.refusing.add(id);
    await world.rounds();
    expect(await world.phase(other.id)).toBe('rolled_back');
    expect(await world.phase(waits)).toBe('rolled_back');
  });
});

describe('over the API', () => {
  it('a viewer, an operator and an admin are told apart, with the role in the words', async () => {
    const app = new Hono<Env>();
    app.onError(onError(pino({ level: 'silent' })));
    app.use(async (c, next) => {
      c.set(
        'actor',
        c.req.header('x-role') === 'admin'
          ? admin
          : { ...operator, role: c.req.header('x-role') === 'viewer' ? 'viewer' : 'operator' },
      );
      await next();
    });
    app.route('/', rolloutRoutes(world.rollouts));
    const id = await waitingFor('fleet');
    const approve = async (role: string) => {
      const headers = { 'content-type': 'application/json', 'x-role': role };
      const body = JSON.stringify({ wave: 'fleet', reason: 'tested' });
      const answer = await app.request(`/rollouts/${id}/approve`, { method: 'POST', headers, body });
      return { status: answer.status, body: await answer.json() };
    };
    expect(await approve('viewer')).toMatchObject({ status: 403 });
    const refused = await approve('operator');
    expect(refused.status).toBe(403);
    expect(Problem.parse(refused.body).detail).toContain('needs the role admin');
    expect(Rollout.parse((await approve('admin')).body).state).toMatchObject({ phase: 'running', wave: 2 });
  });

  it.each<[string, Plan]>([
    ['needs a name', { waves: [{ percent: 50, approval: {} }, { percent: 100 }] }],
    [
      'that no other wave has',
      {
        waves: [
          { percent: 50, name: 'a' },
          { percent: 100, name: 'a', approval: {} },
        ],
      },
    ],
  ])('a wave that could be mistaken for another is refused: %s', (words, plan) => {
    const { error } = RolloutCreate.safeParse({ model: 'net', version: 2, ...plan });
    expect(error?.issues[0]).toMatchObject({ path: ['waves'], message: expect.stringContaining(words) });
  });

  it('a role that may not change anything is none', () => {
    const given = { waves: [{ percent: 100, name: 'a', approval: { role: 'viewer' } }] };
    const { error } = RolloutCreate.safeParse({ model: 'net', version: 2, ...given });
    expect(error?.issues.map(({ message }) => message).join()).toContain('operator');
  });
});

it('a rollout that a former program left waiting goes on', async () => {
  const { id } = await world.release(2, { waves: [{ percent: 100 }], approval: true });
  const { tables } = world.database;
  const former: RolloutState = { phase: 'awaiting_approval' };
  await world.database.transact(async (tx) => void (await tx.update(tables.rollouts).set({ state: former })));
  expect(await statusOf(id)).toContain('waits for approval before the first of 1 waves');
  await world.rollouts.approve(operator, id, '');
  await world.rounds();
  expect(await world.phase(id)).toBe('completed');
});
