// edgeloop devices, join-tokens, keys, release-keys, audit.
import { readFileSync } from 'node:fs';
import {
  ApiKey,
  AuditEntry,
  type Behind,
  CreatedApiKey,
  CreatedJoinToken,
  JoinToken,
  ReleaseKey,
  ReleaseKeys,
  RetiredReleaseKey,
} from '@edgeloop/shared/api/access';
import { Device, MalformedMessages, ResolvedDevices } from '@edgeloop/shared/api/devices';
import { pageOf } from '@edgeloop/shared/api/paging';
import { clockWords, isClockOff } from '@edgeloop/shared/clock';
import { AppError } from '@edgeloop/shared/errors';
import { plainText } from '@edgeloop/shared/plain-text';
import { parseLabels } from '@edgeloop/shared/selector';
import type { Command } from 'commander';
import { Anything, action, group, numeric } from './command.ts';
import { labelsText, printFields, printJson, printLine, printTable, shortDigest, timeText } from './output.ts';

export function registerFleetCommands(program: Command): void {
  registerDevices(program);
  registerJoinTokens(program);
  registerKeys(program);
  registerReleaseKeys(program);
  registerAudit(program);
}

const modelsText = (device: Device) =>
  device.models.map((model) => `${model.name}:${model.active?.version ?? 'none'}`).join(' ');

function clockText(clock: Device['clock']): string | undefined {
  if (clock === null) return undefined;
  const exact = Math.abs(clock.offsetMs) < 2000;
  const offset = exact ? `${clock.offsetMs} ms off` : clockWords(clock.offsetMs);
  return `${offset}, measured ${timeText(clock.measuredAt)}`;
}

function usageText(usage: Device['usage']): string | undefined {
  if (usage === null) return undefined;
  const megabytes = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MB`;
  const { sentBytes, monthlyBudgetBytes, writtenADayBytes } = usage;
  const budget = monthlyBudgetBytes === null ? '' : ` of ${megabytes(monthlyBudgetBytes)}`;
  const written = writtenADayBytes === null ? '' : `; writes ${megabytes(writtenADayBytes)} a day`;
  return `${megabytes(sentBytes)}${budget} since ${timeText(usage.since)}${written}`;
}

function twinsText(conflict: Device['identityConflict']): string | undefined {
  if (conflict === null) return undefined;
  return `used by two devices since ${timeText(conflict.since)}, ${conflict.takeovers} takeovers`;
}

function registerDevices(program: Command): void {
  const devices = group(program, 'devices', 'the fleet');
  devices
    .command('list')
    .description('list devices')
    .option('--selector <selector>', 'for example site=paris,tier!=lab')
    .option('--status <status>', 'online, offline or never_connected')
    .option('--removed', 'those that were removed')
    .action(
      action(async ({ api, json }, options: { selector?: string; status?: string; removed?: true }) => {
        const { removed, ...asked } = options;
        const query = { ...asked, ...(removed ? { removed: 'true' } : {}), limit: 1000 };
        const page = await api.get('/devices', pageOf(Device), query);
        if (json) return printJson(page.items);
        const rows = page.items.map((device) => [
          device.id,
          device.status,
          labelsText(device.labels),
          modelsText(device),
          timeText(device.lastSeenAt),
          device.problems.length || undefined,
          device.identityConflict === null ? undefined : 'two devices',
          device.clock !== null && isClockOff(device.clock) ? clockWords(device.clock.offsetMs) : undefined,
        ]);
        printTable(['ID', 'STATUS', 'LABELS', 'MODELS', 'LAST SEEN', 'PROBLEMS', 'IDENTITY', 'CLOCK'], rows);
      }),
    );
  devices
    .command('show <id>')
    .description('show one device')
    .action(
      action(async ({ api, json }, id: string) => {
        const path = `/devices/${encodeURIComponent(id)}`;
        const device = await api.get(path, Device);
        const malformed = await api.get(`${path}/malformed`, MalformedMessages);
        if (json) return printJson({ ...device, malformed });
        printFields([
          ['id', device.id],
          ['status', device.status],
          ['labels', labelsText(device.labels)],
          ['enrolled', timeText(device.enrolledAt)],
          ['last seen', timeText(device.lastSeenAt)],
          ...removalFields(device),
          ['clock', clockText(device.clock)],
          ['sent', usageText(device.usage)],
          ['saving', device.usage?.saving.map((words) => plainText(words)).join('; ')],
          ['identity', twinsText(device.identityConflict)],
          [
            'generation',
            `${device.reportedGeneration ?? '-'} of ${device.desiredGeneration}${device.conflicting ? ' (conflicting)' : ''}`,
          ],
          ['agent', device.facts?.agentVersion],
          [
            'hardware',
            device.facts === null
              ? undefined
              : `${device.facts.arch}, ${device.facts.cpus} cores, ${Math.round(device.facts.memoryBytes / 2 ** 20)} MiB`,
          ],
        ]);
        const rows = device.models.map((model) => [
          model.name,
          activeText(model.active),
          shortDigest(model.active?.release),
          model.candidate?.version,
          model.candidate?.state,
          model.candidate?.error?.message,
        ]);
        printTable(['MODEL', 'ACTIVE', 'RELEASE', 'CANDIDATE', 'STATE', 'ERROR'], rows);
        if (device.problems.length > 0) printLine('problems');
        for (const problem of device.problems) printLine(`  ${plainText(problem)}`);
        printMalformed(malformed);
      }),
    );
  registerResolve(devices);
  devices
    .command('label <id> <labels...>')
    .description('set labels: key=value sets, key- removes')
    .action(
      action(async ({ api, json }, id: string, changes: string[]) => {
        const path = `/devices/${encodeURIComponent(id)}`;
        const labels = new Map(Object.entries((await api.get(path, Device)).labels));
        for (const change of changes) {
          if (change.endsWith('-') && !change.includes('=')) labels.delete(change.slice(0, -1));
          else for (const [key, value] of Object.entries(parseLabels(change))) labels.set(key, value);
        }
        const device = await api.send('PATCH', path, Device, { labels: Object.fromEntries(labels) });
        if (json) return printJson(device);
        printLine(`${device.id}: ${labelsText(device.labels)}`);
      }),
    );
  devices
    .command('remove <id>')
    .description('revoke the device’s certificate, and bar its id and key')
    .action(
      action(async ({ api, json }, id: string) => {
        const removed = await api.send('DELETE', `/devices/${encodeURIComponent(id)}`, Anything);
        if (json) return printJson(removed);
        printLine(`${id} removed; it is not accepted any more until: edgeloop devices readmit ${id}`);
      }),
    );
  devices
    .command('readmit <id>')
    .description('let a removed device join again, with a join token')
    .action(
      action(async ({ api, json }, id: string) => {
        const device = await api.send('POST', `/devices/${encodeURIComponent(id)}/readmit`, Device);
        if (json) return printJson(device);
        printLine(`${id} may join again; it needs a join token: edgeloop join-tokens create`);
      }),
    );
}

interface ResolveOptions {
  selector?: string;
  follow?: true;
  keep?: true;
}

function registerResolve(devices: Command): void {
  devices
    .command('resolve [id]')
    .description('decide on a device that is ahead of this server, as after a restored backup')
    .option('--selector <selector>', 'on all of these that are ahead')
    .option('--follow', 'it does what this server says')
    .option('--keep', 'it stays with what it runs, until a newer rollout takes it')
    .action(
      action(async ({ api, json }, id: string | undefined, { selector, follow, keep }: ResolveOptions) => {
        if (follow === keep) throw new AppError('invalid_request', 'say one of --follow and --keep');
        const decision = follow === true ? 'follow' : 'keep';
        if ((id === undefined) === (selector === undefined))
          throw new AppError('invalid_request', 'name a device, or several with --selector');
        if (id === undefined) {
          const many = await api.send('POST', '/devices/resolve', ResolvedDevices, { selector, decision });
          if (json) return printJson(many);
          return printLine(
            many.resolved.length === 0
              ? 'none of these devices is ahead of this server'
              : `${decision}: ${many.resolved.join(', ')}`,
          );
        }
        const device = await api.send('POST', `/devices/${encodeURIComponent(id)}/resolve`, Device, { decision });
        if (json) return printJson(device);
        printLine(`${id}: ${decision === 'follow' ? 'follows this server' : 'keeps what it runs'} from now on`);
      }),
    );
}

/** Only of a device that was removed. */
function printMalformed({ count, items }: MalformedMessages): void {
  if (count === 0) return;
  printLine(`messages that were not understood: ${count}`);
  printTable(
    ['AT', 'CHANNEL', 'BYTES', 'REASON', 'BEGINS'],
    items.map(({ at, channel, bytes, reason, head }) => [
      ...[timeText(at), channel, String(bytes), plainText(reason, 120)],
      plainText(head, 60),
    ]),
  );
}

function removalFields({ revokedAt, readmittedAt }: Device): [string, string][] {
  if (revokedAt === null) return [];
  return [
    ['removed', timeText(revokedAt)],
    ['readmitted', timeText(readmittedAt)],
  ];
}

function registerJoinTokens(program: Command): void {
  const tokens = group(program, 'join-tokens', 'tokens with which devices join');
  tokens
    .command('create')
    .description('make a token for EDGELOOP_JOIN; it is shown once')
    .option('--uses <n>', 'how many devices may join with it', numeric, 1)
    .option('--expires-in <seconds>', 'lifetime', numeric, 86_400)
    .option('--labels <labels>', 'labels that joining devices get, key=value,key=value')
    .action(
      action(async ({ api, json }, options: { uses: number; expiresIn: number; labels?: string }) => {
        const created = await api.send('POST', '/join-tokens', CreatedJoinToken, {
          uses: options.uses,
          expiresIn: options.expiresIn,
          labels: parseLabels(options.labels ?? ''),
        });
        if (json) return printJson(created);
        printLine(created.token);
        process.stderr.write(
          `good for ${created.uses} device(s) until ${timeText(created.expiresAt)}; on the device: EDGELOOP_JOIN=TOKEN edgeloop-agent run\n` +
            `to take it back: edgeloop join-tokens revoke ${created.id}\n`,
        );
      }),
    );
  tokens
    .command('list')
    .description('list tokens, newest first; never what they are')
    .action(
      action(async ({ api, json }) => {
        const page = await api.get('/join-tokens', pageOf(JoinToken), { limit: 1000 });
        if (json) return printJson(page.items);
        printTable(
          ['ID', 'LABELS', 'USES LEFT', 'EXPIRES', 'CREATED', 'BY', 'REVOKED'],
          page.items.map((token) => [
            token.id,
            labelsText(token.labels),
            `${token.usesLeft} of ${token.uses}`,
            timeText(token.expiresAt),
            timeText(token.createdAt),
            token.createdBy,
            timeText(token.revokedAt),
          ]),
        );
      }),
    );
  tokens
    .command('revoke <id>')
    .description('make a token useless at once; devices that joined with it stay')
    .action(
      action(async ({ api, json }, id: string) => {
        const revoked = await api.send('DELETE', `/join-tokens/${encodeURIComponent(id)}`, JoinToken);
        if (json) return printJson(revoked);
        printLine(`${id} revoked; nobody joins with it any more`);
      }),
    );
}

function registerKeys(program: Command): void {
  const keys = group(program, 'keys', 'API keys of operators and programs');
  keys
    .command('create <name>')
    .description('make a key; it is shown once')
    .requiredOption('--role <role>', 'viewer, operator or admin')
    .action(
      action(async ({ api, json }, name: string, options: { role: string }) => {
        const created = await api.send('POST', '/keys', CreatedApiKey, { name, role: options.role });
        if (json) return printJson(created);
        printLine(created.key);
      }),
    );
  keys
    .command('list')
    .description('list keys')
    .action(
      action(async ({ api, json }) => {
        const page = await api.get('/keys', pageOf(ApiKey), { limit: 1000 });
        if (json) return printJson(page.items);
        printTable(
          ['ID', 'NAME', 'ROLE', 'CREATED', 'LAST USED', 'REVOKED'],
          page.items.map((key) => [
            key.id,
            key.name,
            key.role,
            timeText(key.createdAt),
            timeText(key.lastUsedAt),
            timeText(key.revokedAt),
          ]),
        );
      }),
    );
  keys
    .command('revoke <id>')
    .description('make a key useless at once')
    .action(
      action(async ({ api, json }, id: string) => {
        const revoked = await api.send('DELETE', `/keys/${encodeURIComponent(id)}`, Anything);
        if (json) return printJson(revoked);
        printLine(`${id} revoked`);
      }),
    );
}

function registerReleaseKeys(program: Command): void {
  const keys = group(program, 'release-keys', 'keys that devices trust to sign releases and what they should run');
  keys
    .command('list')
    .description('list them')
    .action(
      action(async ({ api, json }) => {
        const { items, ...known } = await api.get('/release-keys', ReleaseKeys);
        if (json) return printJson(items);
        printTable(
          ['ID', 'SIGNS', 'PUBLIC KEY'],
          items.map(({ id, signs, publicKey }) => [id, signs ? 'yes' : 'no', bodyOf(publicKey)]),
        );
        printBehind(known, 'do not know the newest list yet, and follow when they return');
      }),
    );
  keys
    .command('add')
    .description('make a new key, which signs from now on; the former stays trusted until it is retired')
    .option('--public <file>', 'only trust this Ed25519 public key (PEM), whose private half lies elsewhere')
    .action(
      action(async ({ api, json }, options: { public?: string }) => {
        const publicKey = options.public === undefined ? undefined : readFileSync(options.public, 'utf8');
        const added = await api.send('POST', '/release-keys', ReleaseKey, { publicKey });
        if (json) return printJson(added);
        const next = added.signs
          ? 'signs from now on; retire the former key once all devices have been online'
          : 'is trusted';
        printLine(`${added.id} ${next}`);
      }),
    );
  keys
    .command('retire <id>')
    .description('let devices trust a key no more')
    .action(
      action(async ({ api, json }, id: string) => {
        const retired = await api.send('DELETE', `/release-keys/${encodeURIComponent(id)}`, RetiredReleaseKey);
        if (json) return printJson(retired);
        printLine(`${id} retired; each device hears of it when it connects`);
        printBehind(retired, 'were not online since the last change, and trust it until they return');
      }),
    );
}

function printBehind({ behind, behindCount }: Behind, what: string): void {
  if (behindCount === 0) return;
  const named = behind
    .slice(0, 20)
    .map(({ deviceId, serial }) => `${deviceId} (${serial === null ? 'its agent does not say' : `list ${serial}`})`);
  printLine(
    `${behindCount} device${behindCount === 1 ? '' : 's'} ${what}: ${named.join(', ')}${behindCount > named.length ? ', …' : ''}`,
  );
}

function bodyOf(pem: string): string {
  return pem.replace(/-----[A-Z ]+-----|\s/g, '');
}

function registerAudit(program: Command): void {
  program
    .command('audit')
    .description('who changed what, newest first')
    .option('--subject <subject>', 'for example rollout/ID')
    .option('--actor <actor>', 'for example key:admin')
    .option('--limit <n>', 'how many entries', numeric, 50)
    .action(
      action(async ({ api, json }, options: { subject?: string; actor?: string; limit: number }) => {
        const page = await api.get('/audit', pageOf(AuditEntry), { ...options });
        if (json) return printJson(page.items);
        printTable(
          ['AT', 'ACTOR', 'ACTION', 'SUBJECT'],
          page.items.map((entry) => [timeText(entry.at), entry.actor, entry.action, entry.subject]),
        );
      }),
    );
}

/** What answers: of a version with variants also which one. */
function activeText(active: Device['models'][number]['active']): string | undefined {
  if (active === null) return undefined;
  return active.variant === undefined ? String(active.version) : `${active.version} (${active.variant})`;
}
