import { describe, expect, it } from 'vitest';
import { type Device, deadWeightOf } from './dead-weight.ts';

const device: Device = { platform: 'linux', arch: 'arm64', keepGpu: false };

const own = ['bin/napi-v6/linux/arm64/libonnxruntime.so.1', 'bin/napi-v6/linux/arm64/onnxruntime_binding.node'];
const others = [
  'bin/napi-v6/linux/x64/libonnxruntime.so.1',
  'bin/napi-v6/linux/x64/libonnxruntime_providers_cuda.so',
  'bin/napi-v6/darwin/arm64/onnxruntime_binding.node',
  'bin/napi-v6/win32/arm64/onnxruntime.dll',
];
const gpu = [
  'bin/napi-v6/linux/arm64/libonnxruntime_providers_cuda.so',
  'bin/napi-v6/linux/arm64/libonnxruntime_providers_shared.so',
];
const code = ['package.json', 'dist/binding.js', 'lib/binding.ts'];

describe('what of ONNX Runtime goes', () => {
  const decide = deadWeightOf['onnxruntime-node'];

  it('is what is for another platform or processor, and never what is for this one', () => {
    expect(decide([...code, ...own, ...others], device)).toEqual([
      { what: 'ONNX Runtime for other platforms', paths: others },
    ]);
  });

  it('is what is for GPUs as well, unless it is to be kept', () => {
    const all = [...code, ...own, ...gpu];
    expect(decide(all, device)).toEqual([{ what: 'GPU libraries of ONNX Runtime', paths: gpu }]);
    expect(decide(all, { ...device, keepGpu: true })).toEqual([]);
  });

  it('is nothing where the package has no library for this device', () => {
    expect(decide([...code, ...own, ...others], { ...device, arch: 'riscv64' })).toEqual([]);
  });

  it('is nothing the second time', () => {
    expect(decide([...code, ...own], device)).toEqual([]);
  });
});

describe('what of better-sqlite3 goes', () => {
  const decide = deadWeightOf['better-sqlite3'];
  const compiledFrom = ['deps/sqlite3/sqlite3.c', 'src/better_sqlite3.cpp', 'build/Release/obj.target/sqlite3.a'];
  const kept = ['package.json', 'lib/index.js', 'build/Release/better_sqlite3.node'];

  it('is what it was compiled from, and never its binary', () => {
    expect(decide([...kept, ...compiledFrom], device)).toEqual([
      { what: 'what better-sqlite3 was compiled from', paths: compiledFrom },
    ]);
  });

  it('is nothing before it is compiled', () => {
    expect(decide(['package.json', 'lib/index.js', ...compiledFrom], device)).toEqual([]);
  });

  it('is nothing the second time', () => {
    expect(decide(kept, device)).toEqual([]);
  });
});
