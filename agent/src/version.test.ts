import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { deviceFacts } from './identity/device-facts.ts';

it('tells the version of the package, so that a release needs one change only', () => {
  const stated: unknown = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  expect(stated).toMatchObject({ version: deviceFacts().agentVersion });
});
