import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { asTyped } from './command.ts';

describe('the failure of a command', () => {
  const command = new Command('create')
    .argument('<metric>')
    .option('--min-requests <n>')
    .option('--bake <s>')
    .option('-f, --follow');

  it('names options and arguments as they were typed', () => {
    expect(asTyped(command, 'body.gates.minRequests: must be a number')).toBe('--min-requests: must be a number');
    expect(asTyped(command, 'query.metric: unknown; body.follow: too')).toBe('<metric>: unknown; --follow: too');
  });

  it('knows an option whose field says the unit', () => {
    expect(asTyped(command, 'body.bakeSeconds: too small')).toBe('--bake: too small');
  });

  it('leaves what is no option of the command as the API says it', () => {
    expect(asTyped(command, 'body.waves.0: must be over 0')).toBe('body.waves.0: must be over 0');
    expect(asTyped(command, 'somebody.follow is no field')).toBe('somebody.follow is no field');
  });
});
