import { expect, test } from 'vitest';
import { labelOf } from './labels.ts';

const text = (content: string): Uint8Array => Buffer.from(content);
const readable = text('const a = 1;\n'.repeat(20));

test.each([
  ['lib/index.js', readable, 'JavaScript', 'library'],
  ['lib/index.CJS', readable, 'JavaScript', 'library'],
  ['dist/a.min.mjs', text('x=1;'.repeat(200)), 'JavaScript', 'minified bundle'],
  ['src/a.ts', readable, 'TypeScript', 'TypeScript source'],
  ['src/a.test.mts', readable, 'TypeScript', 'TypeScript source'],
  ['dist/a.d.ts', readable, 'TypeScript', 'library'],
  ['dist/a.d.mts', readable, 'TypeScript', 'library'],
  ['dist/a.d.ts.map', text('{"version":3}'), 'source map', 'library'],
  ['package.json', text('\uFEFF {"name": "x"}'), 'JSON', 'library'],
  ['tsconfig.json', text('// settings\n{}'), 'JSON', 'library'],
  ['README.md', text('# x'), 'Markdown', 'library'],
  ['LICENSE', text('MIT'), 'plain text', 'library'],
  ['docs/LICENSE-MIT', text('MIT'), 'plain text', 'library'],
  ['LICENSE.md', text('# MIT'), 'Markdown', 'library'],
  ['.github/workflows/ci.yml', text('on: push'), 'YAML', 'library'],
])('%s is told by its name', (path, bytes, label, kind) => {
  expect(labelOf(path, bytes)).toEqual({ label, kind });
});

test.each([
  ['a name of no class', 'lib/addon.node', text('x')],
  ['code named like a licence', 'lib/license.rs', text('x')],
  ['bytes that are not text', 'lib/stream.ts', Uint8Array.of(0x47, 0, 0x11)],
  ['a map that is not JSON', 'data/world.map', text('wall wall door')],
])('%s has no label', (_why, path, bytes) => {
  expect(labelOf(path, bytes)).toBeUndefined();
});
