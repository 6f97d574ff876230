import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { identity } from '../../../../test/support/onnx-models.ts';
import { findModel, readVersion } from './scan.ts';

describe('a tokenizer in the folder of a model', () => {
  const root = mkdtempSync(join(tmpdir(), 'scan-'));
  afterAll(() => rmSync(root, { recursive: true }));
  const model = join(root, 'mood');
  mkdirSync(join(model, '1'), { recursive: true });
  writeFileSync(join(model, '1', 'model.onnx'), identity('int64', ['n', 't']));
  writeFileSync(join(model, 'model.json'), '{"inputs": {"x": {"text": {"tokenizer": "tokenizer.json"}}}}');
  const stamp = async () => (await findModel(root, 'mood'))?.versions[0]?.stamp;
  const kind = (type: string) => JSON.stringify({ model: { type } });

  it('comes with the manifest, from beside it or from beside the model, and counts as a change', async () => {
    await expect(readVersion(root, 'mood', 1)).rejects.toThrow(
      'the tokenizer "tokenizer.json" that the manifest names',
    );
    const without = await stamp();
    writeFileSync(join(model, 'tokenizer.json'), kind('BPE'));
    const beside = await stamp();
    expect(beside).not.toBe(without);
    const { manifest } = await readVersion(root, 'mood', 1);
    expect(manifest.inputs.x?.text?.tokenizer).toEqual({ model: { type: 'BPE' } });
    writeFileSync(join(model, '1', 'tokenizer.json'), kind('WordPiece'));
    expect(await stamp()).not.toBe(beside);
    const own = await readVersion(root, 'mood', 1);
    expect(own.manifest.inputs.x?.text?.tokenizer).toEqual({ model: { type: 'WordPiece' } });
  });
});
