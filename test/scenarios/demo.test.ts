// `npm start -- --exit` as a user would run it, after installing.
import { expect, test } from 'vitest';
import { serverProgram, startProgram } from '../support/programs.ts';

test('the demo plays the whole loop on real data and ends with 0', { timeout: 1_560_000 }, async () => {
  const program = startProgram([serverProgram, 'demo', '--exit'], { EDGELOOP_TUNE_SECONDS: '0.5' });
  const code = await program.waitForEnd(1_500_000);
  expect(program.output()).toContain('every step of the loop was seen to happen');
  expect(code).toBe(0);
});
