import { expect, it } from 'vitest';
import { givenVariants, withVariants } from './given-variants.ts';

const none = { variant: [], require: [] };
async function said(options: Parameters<typeof givenVariants>[0], manifest?: unknown): Promise<unknown> {
  const file = manifest === undefined ? undefined : new Blob([JSON.stringify(manifest)]);
  const blob = await withVariants(file, givenVariants(options));
  return blob === undefined ? undefined : JSON.parse(await blob.text());
}

it('puts variants and what they need into the manifest', async () => {
  const options = {
    variant: ['int8=small/model.int8.onnx', 'fp16=half.onnx'],
    require: ['int8:arch=arm64|arm,memoryMb=512', 'int8:cpuFeatures=asimddp', 'default:cpus=4,provider=cuda'],
    select: 'measure',
  };
  expect(givenVariants(options).files).toEqual([
    { name: 'int8', file: 'small/model.int8.onnx' },
    { name: 'fp16', file: 'half.onnx' },
  ]);
  expect(await said(options, { task: 'regression' })).toEqual({
    task: 'regression',
    variants: [
      { name: 'int8', requires: { arch: ['arm64', 'arm'], memoryMb: 512, cpuFeatures: ['asimddp'] } },
      { name: 'fp16' },
      { name: 'default', requires: { cpus: 4, provider: 'cuda' } },
    ],
    select: 'measure',
  });
});

it('keeps the order and the words of a manifest that names them', async () => {
  const manifest = { variants: [{ name: 'default', requires: { cpus: 8 } }, { name: 'int8' }] };
  expect(await said({ ...none, variant: ['int8=a.onnx'], require: ['int8:cpus=2'] }, manifest)).toEqual({
    variants: [
      { name: 'default', requires: { cpus: 8 } },
      { name: 'int8', requires: { cpus: 2 } },
    ],
  });
  expect(await said(none, manifest)).toEqual(manifest);
  expect(await said(none)).toBeUndefined();
});

it('says how an option is to be said', () => {
  expect(() => givenVariants({ ...none, variant: ['int8'] })).toThrow('--variant int8: is said as NAME=FILE');
  expect(() => givenVariants({ ...none, require: ['int8'] })).toThrow('--require int8: is said as NAME:arch=arm64');
  expect(() => givenVariants({ ...none, require: ['int8:arch'] })).toThrow(
    '--require arch: is said as int8:arch=arm64',
  );
});
