import { execFileSync } from 'node:child_process';
import { RolloutCreate } from '@edgeloop/shared/api/rollouts';
import { describe, expect, it } from 'vitest';
import { bodyOf, commandOf, type PlanForm, usualForm } from './plan-form.ts';

const form = (change: Partial<PlanForm> = {}): PlanForm => ({ ...usualForm('digits', '7'), ...change });

/** The words that a shell makes of it. */
function wordsOf(command: string): string[] {
  const printed = execFileSync('/bin/sh', ['-c', `printf '%s\\n' ${command}`], { encoding: 'utf8' });
  return printed.trimEnd().split('\n');
}

describe('the form of a plan', () => {
  it('is at first the plan without any option', () => {
    expect(RolloutCreate.parse(bodyOf(form()))).toEqual(RolloutCreate.parse({ model: 'digits', version: 7 }));
    expect(commandOf(form())).toBe('edgeloop rollouts create digits 7');
    expect(RolloutCreate.parse(bodyOf(form({ version: 'candidate' }))).version).toBe('candidate');
  });

  it('is what the command line beside it says', () => {
    const given = form({
      ...{
        selector: "site in (a,b),$HOME!='",
        waves: 'canary:5n,fleet:100',
        approvals: 'canary; fleet:admin:four-eyes',
      },
      ...{ bake: '60', maxLoss: '0.02', fetchWindow: '22:00-04:00; sat,sun 08:00-20:00', maxHold: '600' },
    });
    expect(wordsOf(commandOf(given))).toEqual([
      ...['edgeloop', 'rollouts', 'create', 'digits', '7', '--selector', "site in (a,b),$HOME!='"],
      ...['--waves', 'canary:5n,fleet:100', '--approval-before', 'canary'],
      ...['--approval-before', 'fleet:admin:four-eyes', '--bake', '60', '--max-loss', '0.02'],
      ...['--fetch-window', '22:00-04:00', '--fetch-window', 'sat,sun 08:00-20:00', '--max-hold', '600'],
    ]);
    expect(bodyOf(given)).toMatchObject({
      waves: [
        { devices: 5, name: 'canary', approval: { role: 'operator', fourEyes: false } },
        { percent: 100, name: 'fleet', approval: { role: 'admin', fourEyes: true } },
      ],
      gates: { accuracy: { maxLoss: 0.02 } },
      windows: {
        fetch: [
          { from: '22:00', to: '04:00' },
          { days: ['sat', 'sun'], from: '08:00', to: '20:00' },
        ],
        activate: [],
      },
      maxHoldSeconds: 600,
    });
  });

  it.each<[Partial<PlanForm>, RegExp]>([
    [{ waves: 'all' }, /the wave "all"/],
    [{ bake: 'long' }, /Bake: "long" is no number/],
    [{ activateWindow: 'nights' }, /the window "nights"/],
    [{ approvals: 'fleet' }, /no wave has the name "fleet"/],
  ])('says which field cannot be read: %j', (change, words) => {
    expect(() => bodyOf(form(change))).toThrow(words);
  });
});
