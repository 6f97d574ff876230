// edgeloop apply and diff: rules, channels and pipelines as files of a repository.
import { AlertRule, ListedAlertRule } from '@edgeloop/shared/api/alert-rules';
import { CreatedNotificationChannel, NotificationChannel } from '@edgeloop/shared/api/channels';
import { pageOf } from '@edgeloop/shared/api/paging';
import { Pipeline } from '@edgeloop/shared/api/training';
import { AppError } from '@edgeloop/shared/errors';
import type { Command } from 'commander';
import type { z } from 'zod';
import type { ApiClient } from './client.ts';
import { action } from './command.ts';
import { type Change, changeOf, type Declared, type DeclaredKind, nameOf, readDeclared } from './declared.ts';
import { printJson, printLine } from './output.ts';

export function registerApplyCommands(program: Command): void {
  const path = ['-f, --file <path>', 'a file, or a folder of *.json, *.yaml, *.yml'] as const;
  program
    .command('diff')
    .description(
      'say how the alert rules, channels and pipelines of files differ from the server; exit code 1 when they do',
    )
    .requiredOption(...path)
    .action(
      action(async ({ api, json }, { file }: { file: string }) => {
        const changes = await changesOf(api, readDeclared(file));
        tell(changes, json);
        if (changes.some(({ what }) => what !== 'none')) process.exitCode = 1;
      }),
    );
  program
    .command('apply')
    .description('make the alert rules, channels and pipelines of the server as files say; nothing is deleted')
    .requiredOption(...path)
    .option('--dry-run', 'only say what would change')
    .action(
      action(async ({ api, json }, { file, dryRun = false }: { file: string; dryRun?: boolean }) => {
        const changes = await changesOf(api, readDeclared(file));
        const fixed = changes.find(({ declared, what }) => declared.kind === 'Channel' && what === 'change');
        if (fixed !== undefined && !dryRun)
          throw new AppError(
            'conflict',
            `channel ${fixed.name} exists with another ${fixed.fields[0]?.field}; a channel cannot be changed: remove it first, nothing was applied`,
          );
        tell(changes, json);
        if (dryRun) return;
        for (const change of changes) if (change.what !== 'none') await send(api, change);
        if (!json) printLine(`${changes.filter(({ what }) => what !== 'none').length} applied`);
      }),
    );
}

async function changesOf(api: ApiClient, declared: readonly Declared[]): Promise<Change[]> {
  const wanted = new Set(declared.map(({ kind }) => kind));
  const present = new Map<string, object>();
  const note = (kind: DeclaredKind, name: string, spec: object) => void present.set(`${kind} ${name}`, spec);
  if (wanted.has('AlertRule'))
    for (const { id, spec } of await all(api, '/alert-rules', ListedAlertRule)) note('AlertRule', id, spec);
  if (wanted.has('Pipeline'))
    for (const { spec } of await all(api, '/pipelines', Pipeline)) note('Pipeline', spec.name, spec);
  if (wanted.has('Channel'))
    for (const { id: _, createdAt: __, delivery: ___, ...spec } of await all(api, '/channels', NotificationChannel))
      note('Channel', spec.name, spec);
  return declared.map((each) => changeOf(each, present.get(`${each.kind} ${nameOf(each)}`)));
}

async function all<S extends z.ZodType>(api: ApiClient, path: string, item: S): Promise<z.output<S>[]> {
  const items: z.output<S>[] = [];
  for (let cursor: string | undefined; ; ) {
    const page = await api.get(path, pageOf(item), { limit: 1000, cursor });
    items.push(...page.items);
    cursor = page.nextCursor;
    if (cursor === undefined) return items;
  }
}

async function send(api: ApiClient, { declared, name }: Change): Promise<void> {
  switch (declared.kind) {
    case 'AlertRule':
      await api.send('PUT', `/alert-rules/${encodeURIComponent(declared.id)}?create=true`, AlertRule, declared.spec);
      return;
    case 'Pipeline':
      await api.send('POST', '/pipelines', Pipeline, declared.spec);
      return;
    case 'Channel': {
      const { secret } = await api.send('POST', '/channels', CreatedNotificationChannel, declared.spec);
      if (secret !== undefined)
        process.stderr.write(`channel ${name}: its messages are signed with ${secret}, which is not shown again\n`);
    }
  }
}

const marks = { create: '+', change: '~', none: ' ' } as const;

function tell(changes: readonly Change[], json: boolean): void {
  if (json) {
    printJson(changes.map(({ declared, ...change }) => ({ kind: declared.kind, ...change })));
    return;
  }
  for (const { declared, name, what, fields } of changes) {
    printLine(`${marks[what]} ${declared.kind} ${name}${what === 'none' ? ' is as declared' : ''}`);
    for (const { field, before, after } of fields) printLine(`    ${field}: ${textOf(before)} -> ${textOf(after)}`);
  }
}

function textOf(value: unknown): string {
  return value === undefined ? 'unset' : JSON.stringify(value);
}
