import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { familyOf, findWorkspaceRoot, listFiles, listPackages } from './files.ts';
import { createScenario, type Sample, toUtf16 } from './scenario.ts';
import { splitFamilies } from './split.ts';

const root = findWorkspaceRoot();

describe('the installed packages', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'corpus-'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  function put(path: string, content: string): void {
    const absolute = join(folder, 'node_modules', '.pnpm', path);
    mkdirSync(dirname(absolute), { recursive: true });
    writeFileSync(absolute, content);
  }

  test('leave out links, packages for one platform, nested packages and compiled output', () => {
    put('b@1/node_modules/b/package.json', '{"repository": "git+https://github.com/Maker/b.git"}');
    put('b@1/node_modules/b/binding.gyp', '{}');
    put('b@1/node_modules/b/build/out.js', 'x');
    put('b@1/node_modules/b/lib/build/kept.js', 'x');
    put('b@1/node_modules/b/node_modules/inner/index.js', 'x');
    put('@s+a@1/node_modules/@s/a/package.json', '{"os": ["linux", "darwin", "win32"]}');
    put('native@1/node_modules/native/package.json', '{"os": ["linux"], "cpu": ["x64"]}');
    put('mac@1/node_modules/mac/package.json', '{"os": ["darwin"]}');
    const store = join(folder, 'node_modules', '.pnpm');
    symlinkSync(join(store, 'b@1/node_modules/b'), join(store, '@s+a@1/node_modules/b'));
    symlinkSync(join(store, 'b@1/node_modules/b/binding.gyp'), join(store, 'b@1/node_modules/b/link.json'));

    const packages = listPackages(folder);
    expect(packages.map(({ name, family }) => [name, family])).toEqual([
      ['@s/a', 's'],
      ['b', 'maker'],
    ]);
    const paths = packages.flatMap((installed) => listFiles(installed).map((file) => file.path));
    expect(paths).toEqual(['package.json', 'binding.gyp', 'lib/build/kept.js', 'package.json']);
  });

  test('are asked for when nothing is installed', () => {
    expect(() => listPackages(folder)).toThrow(/install the dependencies/);
  });

  test('are those of a clone of the project, not of somebody else’s workspace around an installed package', () => {
    writeFileSync(join(folder, 'pnpm-workspace.yaml'), 'packages: []');
    expect(() => findWorkspaceRoot(folder)).toThrow(/clone of the project/);
  });

  test('belong to the family of their repository, scope or name', () => {
    expect(familyOf('preact-iso', { url: 'git+https://github.com/preactjs/preact-iso.git' })).toBe('preactjs');
    expect(familyOf('rfdc', 'davidmarkclements/rfdc')).toBe('davidmarkclements');
    expect(familyOf('pump', 'git://github.com/mafintosh/pump.git')).toBe('mafintosh');
    expect(familyOf('@scope/thing', undefined)).toBe('scope');
    expect(familyOf('thing', undefined)).toBe('thing');
  });
});

test('the split keeps a family on one side and shares out every group', () => {
  const members = Array.from({ length: 600 }, (_, i) => ({
    family: `family ${i % 40}`,
    group: i % 3 ? 'many' : 'few',
  }));
  for (const seed of [1, 2, 3]) {
    const sides = splitFamilies(members, { seed, learnShare: 0.6 });
    expect(sides.size).toBe(40);
    for (const group of ['many', 'few']) {
      const inGroup = members.filter((member) => member.group === group);
      const learning = inGroup.filter(({ family }) => sides.get(family) === 'learn').length / inGroup.length;
      expect(learning).toBeGreaterThan(0.5);
      expect(learning).toBeLessThan(0.7);
    }
  }
});

test('UTF-16 texts are what Windows tools write, without a character cut in two', () => {
  const cut = Buffer.from('aé€').subarray(0, 5);
  expect([...toUtf16(cut)]).toEqual([0xff, 0xfe, 0x61, 0, 0xe9, 0]);
});

describe('the scenario of the installed dependencies', () => {
  const scenario = createScenario({ root, seed: 1 });
  const learning = [...scenario.training, ...scenario.changedField];
  const judging = [...scenario.heldOut, ...scenario.changedHeldOut];

  test('never has a package, a family or a file on both sides', () => {
    for (const key of ['packageName', 'family', 'path'] as const) {
      const learned = new Set(learning.map((sample) => sample[key]));
      expect(judging.filter((sample) => learned.has(sample[key]))).toEqual([]);
    }
    const paths = [...learning, ...judging].map((sample) => sample.path);
    expect(new Set(paths).size).toBe(paths.length);
  });

  test('is the same again for the same seed, and another one for another seed', () => {
    const again = createScenario({ root, seed: 1 });
    expect(again.summary).toEqual(scenario.summary);
    expect(again.training).toEqual(scenario.training);
    expect(again.changedHeldOut).toEqual(scenario.changedHeldOut);
    expect(createScenario({ root, seed: 2 }).training.map(pathOf)).not.toEqual(scenario.training.map(pathOf));
  });

  test('has enough samples of every class and kind, from many packages', () => {
    for (const part of [scenario.training, scenario.heldOut]) {
      expect(new Set(part.map((sample) => sample.label))).toEqual(new Set(scenario.classes));
      expect(new Set(part.map((sample) => sample.kind))).toEqual(new Set(['library']));
      expect(part.length).toBeGreaterThan(800);
      expect(new Set(part.map((sample) => sample.packageName)).size).toBeGreaterThan(50);
    }
    for (const part of [scenario.changedField, scenario.changedHeldOut]) {
      for (const kind of ['minified bundle', 'TypeScript source', 'UTF-16 text']) {
        expect(part.filter((sample) => sample.kind === kind).length, kind).toBeGreaterThan(30);
      }
    }
  });

  test('gives every sample a finite value for every feature', () => {
    for (const { features } of [...learning, ...judging]) {
      expect(features.length).toBe(scenario.featureNames.length);
      expect(features.every(Number.isFinite)).toBe(true);
    }
  });
});

function pathOf(sample: Sample): string {
  return sample.path;
}
