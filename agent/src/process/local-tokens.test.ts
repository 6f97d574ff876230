import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { readLocalTokens } from './local-tokens.ts';

const folder = mkdtempSync(join(tmpdir(), 'tokens-'));
const tokensFile = join(folder, 'tokens.json');
afterAll(() => rmSync(folder, { recursive: true }));
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');
const read = (tokens: unknown) => {
  writeFileSync(tokensFile, JSON.stringify({ tokens }));
  return readLocalTokens({ tokensFile });
};

it('reads tokens and hashes of tokens, beside the one of the variable, which may do everything', () => {
  expect(readLocalTokens({})).toEqual([]);
  const tokens = [
    { name: 'camera', token: 'camera-token', rights: ['infer'], perSecond: 20, burst: 5 },
    { name: 'loader', sha256: sha256('loader-token'), rights: ['repository'] },
  ];
  writeFileSync(tokensFile, JSON.stringify({ tokens }));
  expect(readLocalTokens({ token: 'all', tokensFile })).toEqual([
    { name: 'EDGELOOP_AGENT_TOKEN', sha256: sha256('all'), rights: ['infer', 'feedback', 'repository', 'hold'] },
    { name: 'camera', sha256: sha256('camera-token'), rights: ['infer'], perSecond: 20, burst: 5 },
    { name: 'loader', sha256: sha256('loader-token'), rights: ['repository'] },
  ]);
});

it.each<[unknown, RegExp]>([
  [[], /tokens/],
  [[{ name: 'a', rights: ['infer'] }], /either "token" or "sha256"/],
  [[{ name: 'a', token: 'long-enough', sha256: sha256('b'), rights: [] }], /either "token" or "sha256"/],
  [[{ name: 'a', token: 'short', rights: [] }], /tokens\.0\.token: must have at least 8/],
  [[{ name: 'a', token: 'with a blank', rights: [] }], /visible ASCII/],
  [[{ name: 'a', token: 'long-enough', rights: ['everything'] }], /rights/],
  [[{ name: 'a', token: 'long-enough', rights: [], burst: 3 }], /"burst" needs "perSecond"/],
  [[{ name: 'a', token: 'long-enough', rights: [], perSecond: 0 }], /perSecond/],
  [[{ name: 'a', token: 'long-enough', rights: [], limit: 3 }], /limit/],
  [['a', 'a'].map((name, i) => ({ name, token: `long-enough-${i}`, rights: [] })), /the name "a" is given twice/],
  [['a', 'b'].map((name) => ({ name, token: 'long-enough', rights: [] })), /the token of "b" is given twice/],
])('refuses %j', (tokens, message) => {
  expect(() => read(tokens)).toThrow(message);
});

it('refuses a file that is not there or no JSON', () => {
  expect(() => readLocalTokens({ tokensFile: join(folder, 'none.json') })).toThrow(
    /EDGELOOP_TOKENS_FILE cannot be read/,
  );
  writeFileSync(tokensFile, '{');
  expect(() => readLocalTokens({ tokensFile })).toThrow(/EDGELOOP_TOKENS_FILE is not valid JSON/);
});
