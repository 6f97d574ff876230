import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createKeyedTurn, createTurn } from './turn.ts';

function gate(): { opened: Promise<void>; open(): void } {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

describe('a turn', () => {
  it('runs work one at a time, in the order asked, whatever fails and however long each takes', () =>
    fc.assert(
      fc.asyncProperty(fc.scheduler(), fc.array(fc.boolean(), { maxLength: 12 }), async (scheduler, fails) => {
        const turn = createTurn();
        const begun: number[] = [];
        let running = 0;
        const outcomes = fails.map((failing, index) =>
          turn
            .run(async () => {
              begun.push(index);
              running++;
              expect(running).toBe(1);
              await scheduler.schedule(Promise.resolve());
              running--;
              if (failing) throw new Error(String(index));
              return index;
            })
            .catch((error: unknown) => error),
        );
        await scheduler.waitFor(Promise.all(outcomes));
        expect(begun).toEqual(fails.map((_, index) => index));
        expect(await Promise.all(outcomes)).toEqual(
          fails.map((failing, index) => (failing ? new Error(String(index)) : index)),
        );
      }),
    ));

  it('makes a rejection of what work throws at once', async () => {
    await expect(
      createTurn().run(() => {
        throw new Error('at once');
      }),
    ).rejects.toThrow('at once');
  });

  it('is idle only when what came meanwhile has ended, too', async () => {
    const turn = createTurn();
    const first = gate();
    const second = gate();
    const ended: string[] = [];
    void turn.run(() => first.opened.then(() => void turn.run(() => second.opened.then(() => ended.push('second')))));
    const idle = turn.idle().then(() => ended.push('idle'));
    first.open();
    await turn.run(() => undefined).then(() => second.open());
    await idle;
    expect(ended).toEqual(['second', 'idle']);
  });
});

describe('turns by key', () => {
  it('keeps the work of one key in order and lets other keys go on', async () => {
    const turns = createKeyedTurn();
    const held = gate();
    const seen: string[] = [];
    const slow = turns.run('a', () => held.opened.then(() => seen.push('a1')));
    const after = turns.run('a', () => seen.push('a2'));
    await turns.run('b', () => seen.push('b1'));
    expect(seen).toEqual(['b1']);
    const idle = turns.idle().then(() => seen.push('idle'));
    held.open();
    await Promise.all([slow, after, idle]);
    expect(seen).toEqual(['b1', 'a1', 'a2', 'idle']);
  });
});
