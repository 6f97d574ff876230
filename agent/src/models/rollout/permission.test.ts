import type { DesiredModel } from '@edgeloop/shared/messages';
import { describe, expect, it } from 'vitest';
import { type ModelState, newModelState, type Step } from './model-state.ts';
import { heldBack } from './permission.ts';
import { next } from './transitions.ts';

const noon = new Date(2026, 10, 27, 12).getTime();
const night = new Date(2026, 10, 27, 22).getTime();
const day = 24 * 3_600_000;
const nights = [{ from: '22:00', to: '04:00' }];

function order(more: Partial<DesiredModel> = {}): DesiredModel {
  return { name: 'm', version: 2, release: 'a'.repeat(64), signature: '', rolloutId: 'r', ...more };
}

function warming(more: Partial<DesiredModel> = {}): ModelState {
  let state = next(newModelState('m'), { kind: 'desired', model: order(more) }, noon);
  state = next(state, { kind: 'fetched' }, noon);
  return next(state, { kind: 'verified' }, noon);
}

const hold = { reason: 'surgery', untilMs: noon + day / 2 };

describe('a step', () => {
  it('waits for the window of what it does', () => {
    const state = warming({ windows: { fetch: nights } });
    expect(heldBack(state, 'fetch', { hold: undefined, nowMs: noon })).toMatchObject({ by: 'window', until: night });
    expect(heldBack(state, 'prove', { hold: undefined, nowMs: noon })).toBeUndefined();
    expect(heldBack(state, 'fetch', { hold: undefined, nowMs: night })).toBeUndefined();
    const other = warming({ windows: { activate: nights } });
    expect(heldBack(other, 'fetch', { hold: undefined, nowMs: noon })).toBeUndefined();
    for (const step of ['prove', 'load'] as const)
      expect(heldBack(other, step, { hold: undefined, nowMs: noon })).toMatchObject({ by: 'window', until: night });
  });

  it('waits while device software holds, unless it is one that disturbs nobody', () => {
    const waits = (step: Step) => heldBack(warming(), step, { hold, nowMs: noon });
    expect(waits('prove')).toEqual({
      by: 'hold',
      until: hold.untilMs,
      message: 'software on the device holds it back: surgery',
    });
    expect(waits('load')).toBeDefined();
    for (const step of ['fetch', 'verify', 'watch', 'rest'] as const) expect(waits(step)).toBeUndefined();
    expect(heldBack(warming(), 'prove', { hold, nowMs: hold.untilMs })).toBeUndefined();
  });

  it('waits for a hold no longer than the rollout says, a day where it says nothing, however often that is renewed', () => {
    const forever = { reason: 'lock file', untilMs: undefined };
    let state = warming({ maxHoldSeconds: 600 });
    const held = heldBack(state, 'prove', { hold: forever, nowMs: noon });
    expect(held?.until).toBe(noon + 600_000);
    if (held) state = next(state, { kind: 'held', held }, noon);
    expect(heldBack(state, 'prove', { hold: forever, nowMs: noon + 599_999 })?.until).toBe(noon + 600_000);
    state = next(state, { kind: 'freed' }, noon + 1000);
    expect(heldBack(state, 'prove', { hold: forever, nowMs: noon + 600_000 })).toBeUndefined();
    expect(heldBack(warming(), 'prove', { hold: forever, nowMs: noon })?.until).toBe(noon + day);
  });

  it('that brings back what was good before waits for nobody', () => {
    const good = { ...warming({ windows: { fetch: nights, activate: nights } }), lastGood: order() };
    for (const step of ['fetch', 'prove', 'load'] as const)
      expect(heldBack(good, step, { hold, nowMs: noon })).toBeUndefined();
  });

  it('heeds what the order says now, not what it said when the attempt began', () => {
    const state = next(warming({ windows: { activate: nights } }), { kind: 'desired', model: order() }, noon);
    expect(heldBack(state, 'prove', { hold: undefined, nowMs: noon })).toBeUndefined();
  });
});

describe('a candidate that is held', () => {
  it('says so until it is freed, and changes nothing while that stays the same', () => {
    const held = { by: 'hold' as const, until: noon + 1000, message: 'why' };
    const state = next(warming(), { kind: 'held', held }, noon);
    expect(state.candidate).toMatchObject({ state: 'warming', held, holdSince: noon });
    expect(next(state, { kind: 'held', held: { ...held } }, noon + 500)).toBe(state);
    expect(next(state, { kind: 'freed' }, noon + 600).candidate).toMatchObject({ held: undefined, holdSince: noon });
  });
});
