import { expect, it } from 'vitest';
import { createAbilities, featuresIn } from './abilities.ts';

const facts = { arch: 'arm64', platform: 'linux', cpus: 4, memoryBytes: 1, agentVersion: '1.0.0' };

it('knows the execution providers of ONNX Runtime here, once they are asked for', async () => {
  const abilities = createAbilities(facts);
  expect(await abilities({ providers: false })).toMatchObject({ ...facts, providers: ['cpu'] });
  const { providers } = await abilities({ providers: true });
  expect(providers).toContain('cpu');
});

it.each([
  ['processor\t: 0\nflags\t\t: fpu avx2 avx512_vnni\nbugs\t: x\n', ['fpu', 'avx2', 'avx512_vnni']],
  ['processor : 0\nFeatures : fp asimd asimddp\n\nprocessor : 1\nFeatures : fp\n', ['fp', 'asimd', 'asimddp']],
  ['', undefined],
])('reads features as Linux tells them', (cpuinfo, expected) => {
  expect(featuresIn(cpuinfo)).toEqual(expected);
});
