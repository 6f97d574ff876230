import { access, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { formatTrimmed, trim } from './trim.ts';

const device = { platform: 'linux', arch: 'x64', keepGpu: false };
const runtime = 'node_modules/onnxruntime-node';
const files = {
  'package.json': '{}',
  'node_modules/program/package.json': '{"dependencies":{"onnxruntime-node":"1"}}',
  [`${runtime}/package.json`]: '{"name":"onnxruntime-node"}',
  [`${runtime}/bin/napi-v6/linux/x64/onnxruntime_binding.node`]: 'here',
  [`${runtime}/bin/napi-v6/darwin/arm64/onnxruntime_binding.node`]: 'there',
  [`${runtime}/node_modules/own/bin/napi-v6/darwin/arm64/x.node`]: 'of a package of its own',
};

let folder = '';
/** Its dependencies lie beside it, as npm lays them. */
let program = '';

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'edgeloop-trim-'));
  program = join(folder, 'node_modules/program');
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), text);
  }
});

afterEach(() => rm(folder, { recursive: true, force: true }));

async function present(): Promise<string[]> {
  const entries = await readdir(join(folder, runtime, 'bin/napi-v6'), { recursive: true });
  return entries.sort();
}

it('removes the files and the folders that they leave empty, and says how much that was', async () => {
  const trimmed = await trim({ folder: program, device, dryRun: false });
  expect(trimmed).toMatchObject({ sizeBytes: 5, parts: [{ package: 'onnxruntime-node', files: 1, sizeBytes: 5 }] });
  expect(formatTrimmed(trimmed)).toContain('ONNX Runtime for other platforms (1 files)');
  expect(await present()).toEqual(['linux', 'linux/x64', 'linux/x64/onnxruntime_binding.node']);
  await access(join(folder, runtime, 'node_modules/own/bin/napi-v6/darwin/arm64/x.node'));
});

it('finds nothing to remove the second time', async () => {
  await trim({ folder: program, device, dryRun: false });
  const again = await trim({ folder: program, device, dryRun: false });
  expect(again).toEqual({ dryRun: false, sizeBytes: 0, parts: [] });
  expect(formatTrimmed(again)).toBe('nothing to remove');
});

it('only says what would go when asked to', async () => {
  const before = await present();
  const trimmed = await trim({ folder: program, device, dryRun: true });
  expect(trimmed.sizeBytes).toBe(5);
  expect(formatTrimmed(trimmed)).toContain('would remove');
  expect(await present()).toEqual(before);
});

it('touches nothing of a folder that does not depend on it', async () => {
  const before = await present();
  await expect(trim({ folder, device, dryRun: false })).rejects.toMatchObject({ code: 'not_found' });
  expect(await present()).toEqual(before);
});

it('refuses a folder that holds no program', async () => {
  const nowhere = trim({ folder: join(folder, 'nowhere'), device, dryRun: false });
  await expect(nowhere).rejects.toMatchObject({ code: 'not_found' });
});
