import { expect, it } from 'vitest';
import type { Transaction } from './open.ts';
import { createSharedCommits } from './shared-commits.ts';

const tx = {} as Transaction;

/** Commits that hold what was written since the one before. */
function world({ refuses = () => false }: { refuses?: (commit: number) => boolean } = {}) {
  const commits: string[][] = [];
  let tries = 0;
  let open: string[] = [];
  const shared = createSharedCommits({
    async transact(work) {
      open = [];
      if (refuses(tries++)) throw new Error('no room');
      await work(tx);
      commits.push(open);
    },
    async apart(_, work) {
      const former = [...open];
      try {
        return { value: await work() };
      } catch (error) {
        open = former;
        return { error, lost: error instanceof Error && error.message === 'the disk is full' };
      }
    },
  });
  const write = (text: string) =>
    shared.run(async () => {
      open.push(text);
      return text.toUpperCase();
    });
  const fail = (message: string) =>
    shared.run(async () => {
      open.push('half');
      throw new Error(message);
    });
  return { shared, commits, write, fail };
}

it('writes what is asked for in one turn in one commit, and says it afterwards', async () => {
  const { commits, write } = world();
  const asked = Array.from({ length: 50 }, (_, i) => write(`w${i}`));
  expect(commits).toEqual([]);
  expect(await Promise.all(asked)).toEqual(Array.from({ length: 50 }, (_, i) => `W${i}`));
  expect(commits.length).toBeLessThan(5);
  expect(commits.flat()).toHaveLength(50);
});

it('undoes alone what fails', async () => {
  const { commits, write, fail } = world();
  const outcomes = await Promise.allSettled([write('a'), fail('wrong'), write('b')]);
  expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  expect(commits.flat()).toEqual(['a', 'b']);
});

it('tells all of a group that is lost, and goes on with those that come after', async () => {
  const { commits, write, fail, shared } = world();
  const outcomes = await Promise.allSettled([write('a'), fail('the disk is full'), write('b')]);
  expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'fulfilled']);
  expect(commits.flat()).toEqual(['b']);
  await shared.idle();
});

it('tells everybody who waits when nothing can be written', async () => {
  const { commits, write } = world({ refuses: (nth) => nth === 0 });
  const outcomes = await Promise.allSettled([write('a'), write('b')]);
  expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  await write('c');
  expect(commits.flat()).toEqual(['c']);
});
