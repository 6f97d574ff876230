import { describe, expect, it } from 'vitest';
import { type Abilities, fitting, SignedRequirements, unmet } from './variants.ts';

const device: Abilities = {
  arch: 'arm64',
  platform: 'linux',
  memoryBytes: 2048 * 1024 * 1024,
  cpus: 4,
  cpuFeatures: ['asimd', 'asimddp'],
  providers: ['cpu', 'xnnpack'],
  agentVersion: '1.10.2',
};

describe('what a variant needs', () => {
  it.each([
    [{}, undefined],
    [{ arch: ['x64', 'arm64'], platform: ['linux'], memoryMb: 2048, cpus: 4 }, undefined],
    [{ cpuFeatures: ['asimddp'], provider: 'XNNPACK', agentVersion: '1.9.9' }, undefined],
    [{ agentVersion: '1.10.2' }, undefined],
    [{ arch: ['x64', 'ia32'] }, 'needs arch x64 or ia32, it is arm64'],
    [{ platform: ['darwin'] }, 'needs platform darwin, it is linux'],
    [{ memoryMb: 2049 }, 'needs 2049 MB of memory, it has 2048'],
    [{ cpus: 5 }, 'needs 5 processors, it has 4'],
    [{ cpuFeatures: ['asimd', 'i8mm'] }, 'needs the processor features i8mm, which it lacks'],
    [{ provider: 'cuda' }, 'needs the execution provider cuda, it has cpu, xnnpack'],
    [{ agentVersion: '1.10.3' }, 'needs agent 1.10.3, it has 1.10.2'],
    [{ agentVersion: '2.0.0' }, 'needs agent 2.0.0, it has 1.10.2'],
  ])('is looked for: %j', (requires, expected) => {
    expect(unmet(requires, device)).toBe(expected);
  });

  it('does not hold when this agent does not know it, or the device does not tell', () => {
    const strange = SignedRequirements.parse({ arch: ['arm64'], npu: 'v2' });
    expect(unmet(strange, device)).toBe('needs "npu", which this agent does not know');
    expect(unmet({ cpuFeatures: ['avx2'] }, { ...device, cpuFeatures: undefined })).toContain('does not tell its own');
    expect(unmet({ cpus: 1 }, undefined)).toBe('needs what is not known of this device');
    expect(unmet({}, undefined)).toBeUndefined();
  });
});

it('keeps the order of variants and says why others are left out', () => {
  const variants = [
    { name: 'cuda', requires: { provider: 'cuda' } },
    { name: 'int8', requires: { arch: ['arm64'] } },
    { name: 'default', requires: {} },
  ];
  const { fits, leftOut } = fitting(variants, device);
  expect(fits.map(({ name }) => name)).toEqual(['int8', 'default']);
  expect(leftOut).toEqual(['cuda needs the execution provider cuda, it has cpu, xnnpack']);
});
