// A release changes the version in one go: the packages need each other in exactly theirs, and people look it up.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { packages, version } from './installation.ts';

const read = (path: string) => readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)), 'utf8');
const PackageFile = z.object({ version: z.string(), engines: z.object({ node: z.string() }) });

test('all packages carry the version of the workspace, and want the same Node.js', () => {
  const { engines } = PackageFile.parse(JSON.parse(read('package.json')));
  for (const name of packages)
    expect(PackageFile.parse(JSON.parse(read(`${name}/package.json`))), name).toEqual({ version, engines });
});

test('the changelog has a section for it', () => {
  expect(read('CHANGELOG.md')).toMatch(new RegExp(`^## ${version.replaceAll('.', '\\.')}( |$)`, 'm'));
});
