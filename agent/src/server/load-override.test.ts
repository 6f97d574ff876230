import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { readOverride } from './load-override.ts';

describe('what a load request brings along', () => {
  const dir = mkdtempSync(join(tmpdir(), 'override-'));
  afterAll(() => rmSync(dir, { recursive: true }));
  const read = (parameters: Record<string, unknown>) => readOverride(parameters, { model: 'simple', dir });
  const base64 = (text: string) => Buffer.from(text).toString('base64');

  it('is nothing when it says nothing', async () => {
    expect(await read({})).toBeUndefined();
    expect(await read({ unload_dependents: true })).toBeUndefined();
  });

  it('is a configuration in the words of Triton, with numbers as texts too', async () => {
    const config = {
      name: 'simple',
      backend: 'onnxruntime',
      max_batch_size: '16',
      dynamic_batching: { max_queue_delay_microseconds: 500 },
      instance_group: [{ count: 2 }, { kind: 'KIND_CPU' }],
      version_policy: { latest: { num_versions: 2 } },
      input: [{ name: 'x' }],
    };
    expect(await read({ config: JSON.stringify(config) })).toEqual({
      manifest: { maxBatch: 16, maxDelayMs: 0.5, instances: 3, versions: { latest: 2 } },
    });
    expect(await read({ config: '{"max_batch_size":0}' })).toEqual({ manifest: { maxBatch: 1 } });
    expect(await read({ config: '{"version_policy":{"specific":{"versions":[3]}}}' })).toEqual({
      manifest: { versions: [3] },
    });
  });

  it('may be a pipeline by its manifest and its files, and not by the words of an ensemble', async () => {
    const files = { 'file:1/model.json': base64('{}'), 'file:1/detector.onnx': base64('one') };
    const override = await read({ config: '{"platform":"ensemble"}', ...files });
    expect(readdirSync(join(override?.root ?? '', 'simple', '1')).sort()).toEqual(['detector.onnx', 'model.json']);
    await expect(read({ config: '{"ensemble_scheduling":{"step":[]}}' })).rejects.toThrow(
      /config.*ensemble_scheduling.*send "file:VERSION\/model\.json"/,
    );
    await expect(read({ config: '{}', 'file:1/detector.onnx': base64('one') })).rejects.toThrow(
      'version 1 has no model; send it as "file:1/model.onnx", or the manifest of a pipeline as "file:1/model.json"',
    );
  });

  it('is a folder of models when files come with it', async () => {
    const files = { 'file:1/model.onnx': base64('one'), 'file:12/model.onnx': base64('two'), 'file:1/w.bin': '' };
    const override = await read({ config: '{}', ...files });
    expect(override?.manifest).toEqual({});
    const own = join(override?.root ?? '', 'simple');
    expect(readdirSync(own).sort()).toEqual(['1', '12']);
    expect(readFileSync(join(own, '12/model.onnx'), 'utf8')).toBe('two');
    expect(readdirSync(join(own, '1')).sort()).toEqual(['model.onnx', 'w.bin']);
  });

  it.each<[Record<string, unknown>, RegExp]>([
    [{ config: '"parameters": {"config": {}}' }, /config is not valid JSON/],
    [{ config: { max_batch_size: 16 } }, /parameters\.config/],
    [{ config: '{"max_batch_size":"many"}' }, /config\.max_batch_size/],
    [{ config: '{"max_batch_size":100000}' }, /config\.maxBatch/],
    [{ config: '{"name":"other"}' }, /config\.name is "other"/],
    [{ config: '{"backend":"pytorch"}' }, /config\.backend/],
    [{ config: '{"ensemble_scheduling":{}}' }, /ensemble_scheduling/],
    [{ config: '{"instance_group":[{"kind":"KIND_GPU"}]}' }, /config\.instance_group\.0\.kind/],
    [{ 'file:1/model.onnx': '' }, /files need a configuration/],
    [{ config: '{}', 'file:1/weights.bin': '' }, /version 1 has no model/],
    [{ config: '{}', 'file:1/model.onnx': 'no base64!' }, /"file:1\/model\.onnx" must be a text in base64/],
    [{ config: '{}', 'file:1/model.onnx': 7 }, /must be a text in base64/],
    ...[
      'file:../model.onnx',
      'file:1/../../model.onnx',
      'file:/etc/model.onnx',
      'file:0/model.onnx',
      'file:1/a\0b',
    ].map((name): [Record<string, unknown>, RegExp] => [{ config: '{}', [name]: '' }, /must be "file:VERSION\/NAME"/]),
  ])('is refused with the reason: %j', async (parameters, reason) => {
    const before = readdirSync(dir);
    await expect(read(parameters)).rejects.toMatchObject({
      code: 'invalid_request',
      message: expect.stringMatching(reason),
    });
    expect(readdirSync(dir)).toEqual(before);
  });
});
