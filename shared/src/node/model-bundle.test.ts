import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { bundledFiles, readBundled, writeBundle } from './model-bundle.ts';

const folder = mkdtempSync(join(tmpdir(), 'bundle-'));
afterAll(() => rmSync(folder, { recursive: true }));
const path = join(folder, 'bundle');

describe('a bundle of files', () => {
  it('gives back each file as it was, and is the same for the same files', async () => {
    const name = fc.stringMatching(/^[a-z0-9_][a-z0-9_.-]{0,60}$/);
    const bytes = fc.uint8Array({ maxLength: 2000 });
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(fc.tuple(name, bytes), { selector: ([of]) => of, maxLength: 5 }),
        async (files) => {
          await writeBundle(
            path,
            files.map(([of, content], at) => {
              const source = join(folder, String(at));
              writeFileSync(source, content);
              return at % 2 === 0 ? { name: of, path: source } : { name: of, bytes: content };
            }),
          );
          const first = readFileSync(path);
          if (files.length === 0) return;
          const found = bundledFiles(path) ?? [];
          expect(found.map((file) => [file.name, readBundled(path, file)])).toEqual(files);
          await writeBundle(
            path,
            files.map(([of, content]) => ({ name: of, bytes: content })),
          );
          expect(readFileSync(path).equals(first)).toBe(true);
        },
      ),
      { numRuns: 50 },
    );
  });

  it('can be unpacked by others', async () => {
    await writeBundle(path, [
      { name: 'a.onnx', bytes: Buffer.from('one') },
      { name: 'b.onnx', bytes: Buffer.alloc(1000, 'b') },
    ]);
    expect(execFileSync('tar', ['-tf', path], { encoding: 'utf8' })).toBe('a.onnx\nb.onnx\n');
    expect(execFileSync('tar', ['-xOf', path, 'a.onnx'], { encoding: 'utf8' })).toBe('one');
  });

  it('is told from other files, and refused when it is damaged', async () => {
    writeFileSync(path, Buffer.alloc(2000));
    expect(bundledFiles(path)).toBeUndefined();
    await writeBundle(path, [{ name: 'a.onnx', bytes: Buffer.alloc(3000) }]);
    const whole = readFileSync(path);
    for (const wrong of [
      whole.subarray(0, 2000),
      whole.subarray(0, 3584),
      Buffer.concat([Buffer.from('x'), whole.subarray(1)]),
    ]) {
      writeFileSync(path, wrong);
      expect(() => bundledFiles(path)).toThrow('the file of several models is damaged');
    }
  });
});
