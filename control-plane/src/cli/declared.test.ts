import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AlertRuleSpec } from '@edgeloop/shared/api/alert-rules';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { changeOf, type Declared, nameOf, readDeclared } from './declared.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'edgeloop-declared-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));
const file = (name: string, text: string) => {
  mkdirSync(join(folder, name, '..'), { recursive: true });
  writeFileSync(join(folder, name), text);
};

const slow = `kind: AlertRule
id: slow-paris
spec:
  kind: metric
  metric: latency
  condition: { is: above, bound: 250 }
`;
const hook = { kind: 'Channel', spec: { kind: 'webhook', name: 'ops', url: 'https://hooks.example/x' } };

it('reads files below a folder, several resources in one, in an order in which they can be applied', () => {
  file('rules/paris.yaml', `${slow}---\n${slow.replace('slow-paris', 'slow-rome')}`);
  file('channels.json', JSON.stringify([hook]));
  file('notes.md', 'no resource');
  const found = readDeclared(folder);
  expect(found.map((each) => `${each.kind} ${nameOf(each)}`)).toEqual([
    ...['Channel ops', 'AlertRule slow-paris', 'AlertRule slow-rome'],
  ]);
  expect(readDeclared(join(folder, 'channels.json'))).toHaveLength(1);
});

it('names file, resource and field of what cannot be read, before anything is sent', () => {
  file('a.yaml', slow.replace('bound: 250', 'bound: high'));
  expect(() => readDeclared(folder)).toThrow(/a\.yaml, resource 1.*spec\.condition\.bound/s);
  file('a.yaml', 'kind: [');
  expect(() => readDeclared(folder)).toThrow(/a\.yaml: /);
  file('a.yaml', 'kind: Rollout');
  expect(() => readDeclared(folder)).toThrow(/a\.yaml, resource 1.*kind/s);
  file('a.yaml', slow);
  file('b.yaml', slow);
  expect(() => readDeclared(folder)).toThrow(/b\.yaml: AlertRule slow-paris is declared in .*a\.yaml, too/);
  expect(() => readDeclared(join(folder, 'none'))).toThrow(/cannot read/);
  const bomb = `a: &a [x]\n${'bcdefghijk'.replace(/./g, (each, i) => {
    const former = String.fromCharCode(97 + i);
    return `${each}: &${each} [*${former}, *${former}, *${former}, *${former}, *${former}, *${former}, *${former}, *${former}]\n`;
  })}`;
  rmSync(join(folder, 'b.yaml'));
  file('a.yaml', bomb);
  expect(() => readDeclared(folder)).toThrow();
});

it('says what is new, what differs in which field, and what is as declared, defaults included', () => {
  file('a.yaml', slow);
  const [declared] = readDeclared(folder) as [Declared];
  expect(changeOf(declared, undefined)).toMatchObject({ what: 'create', name: 'slow-paris' });
  const spec = { kind: 'metric', metric: 'latency', condition: { is: 'above', bound: 250 } };
  expect(changeOf(declared, AlertRuleSpec.parse(spec))).toMatchObject({ what: 'none', fields: [] });
  const other = AlertRuleSpec.parse({
    ...spec,
    condition: { is: 'above', bound: 200, clear: 150 },
    labels: { team: 'a' },
  });
  expect(changeOf(declared, other).fields).toEqual([
    { field: 'condition.bound', before: 200, after: 250 },
    { field: 'condition.clear', before: 150, after: undefined },
    { field: 'labels.team', before: 'a', after: undefined },
  ]);
});
