import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { identity } from '../../../../test/support/onnx-models.ts';
import { colourFiles, colourManifest } from '../../../../test/support/pipeline-models.ts';
import { findModel, readVersion, scanFolder } from './scan.ts';

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

describe('the models of a pipeline in the folder of a version', () => {
  const root = mkdtempSync(join(tmpdir(), 'scan-'));
  afterAll(() => rmSync(root, { recursive: true }));
  const version = join(root, 'colours', '1');
  mkdirSync(version, { recursive: true });
  for (const [name, bytes] of Object.entries(colourFiles)) writeFileSync(join(version, name), bytes);

  it('are none before the manifest says how they follow each other, and it is told', async () => {
    const { models, misplaced } = await scanFolder(root);
    expect([models, misplaced]).toEqual([
      [],
      [expect.objectContaining({ reason: expect.stringContaining('"pipeline"') })],
    ]);
  });

  it.each(['beside the versions', 'in the version'])('are a version with a manifest %s', async (where) => {
    const path = where === 'in the version' ? join(version, 'model.json') : join(root, 'colours', 'model.json');
    writeFileSync(path, JSON.stringify(colourManifest()));
    const { models, misplaced } = await scanFolder(root);
    expect([models.map(({ name, versions }) => [name, versions.length]), misplaced]).toEqual([[['colours', 1]], []]);
    expect(await readVersion(root, 'colours', 1)).toMatchObject({ path: version, manifest: { pipeline: {} } });
    rmSync(path);
  });

  it('are another version when they change, or follow each other otherwise', async () => {
    const digest = async (manifest: unknown) => {
      writeFileSync(join(version, 'model.json'), JSON.stringify(manifest));
      return (await readVersion(root, 'colours', 1)).digest;
    };
    const manifest = colourManifest();
    const first = await digest(manifest);
    expect(await digest({ ...manifest, description: 'another word' })).toBe(first);
    const other = structuredClone(manifest);
    other.pipeline?.steps.reverse();
    const turned = await digest(other);
    expect(turned).not.toBe(first);
    writeFileSync(join(version, 'colours.onnx'), identity('float', ['n']));
    expect(await digest(manifest)).not.toBe(first);
  });
});
