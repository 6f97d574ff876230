// edgeloop models.
import { basename, dirname } from 'node:path';
import type { Acceptance } from '@edgeloop/shared/acceptance';
import { Model, ModelAlias, ModelVersionDetail } from '@edgeloop/shared/api/models';
import { pageOf } from '@edgeloop/shared/api/paging';
import type { VariantRequirements } from '@edgeloop/shared/variants';
import type { Command } from 'commander';
import { addBacktestCommand } from './backtest-command.ts';
import { action, group, numeric } from './command.ts';
import { givenFile } from './given-file.ts';
import { gathered, givenVariants, type VariantOptions, withVariants } from './given-variants.ts';
import { saysPipeline, withTokenizerFiles } from './manifest-file.ts';
import { printFields, printJson, printLine, printTable, shortDigest, timeText } from './output.ts';

interface PushOptions extends VariantOptions {
  manifest?: string;
  golden?: string;
}

export function registerModelCommands(program: Command): void {
  const models = group(program, 'models', 'the model registry');
  models
    .command('list')
    .description('list models')
    .action(
      action(async ({ api, json }) => {
        const page = await api.get('/models', pageOf(Model), { limit: 1000 });
        if (json) return printJson(page.items);
        printTable(
          ['NAME', 'VERSIONS', 'NEWEST', 'CREATED', 'DESCRIPTION'],
          page.items.map((model) => [
            model.name,
            model.versions.length,
            Math.max(0, ...model.versions.map((each) => each.version)),
            timeText(model.createdAt),
            model.description,
          ]),
        );
      }),
    );
  models
    .command('show <name> [version]')
    .description('show a model, or one version of it')
    .action(
      action(async ({ api, json }, name: string, version: string | undefined) => {
        const path = `/models/${encodeURIComponent(name)}`;
        if (version === undefined) {
          const model = await api.get(path, Model);
          if (json) return printJson(model);
          return printModel(model);
        }
        const detail = await api.get(`${path}/versions/${encodeURIComponent(version)}`, ModelVersionDetail);
        if (json) return printJson(detail);
        printVersion(detail);
      }),
    );
  models
    .command('push <name> <files...>')
    .description('upload an ONNX file as a new version, or the files of a pipeline that the manifest describes')
    .option('--manifest <file>', 'model.json')
    .option('--golden <file>', 'golden samples, JSON')
    .option('--variant <name=file>', 'a further file that devices may pick; may be given again', gathered, [])
    .option(
      '--require <name:what=value,…>',
      'what a variant needs: arch, platform, memoryMb, cpus, cpuFeatures, provider, agentVersion; alternatives are joined by "|"',
      gathered,
      [],
    )
    .option('--select <how>', 'which variant a device takes of those it may run: first or measure')
    .action(
      action(async ({ api, json }, name: string, files: string[], options: PushOptions) => {
        const form = new FormData();
        const given =
          options.manifest === undefined
            ? undefined
            : await withTokenizerFiles(await givenFile(options.manifest), dirname(options.manifest));
        const variants = givenVariants(options);
        const manifest = await withVariants(given, variants);
        for (const { name: variant, file } of variants.files)
          form.append('variants', await givenFile(file), `${variant}.onnx`);
        const isPipeline = files.length > 1 || (manifest !== undefined && saysPipeline(await manifest.text()));
        for (const file of files) form.append(isPipeline ? 'files' : 'model', await givenFile(file), basename(file));
        if (manifest !== undefined) form.set('manifest', manifest, 'manifest.json');
        if (options.golden !== undefined) form.set('golden', await givenFile(options.golden), 'golden.json');
        if (!json && process.stderr.isTTY) process.stderr.write(`uploading and validating ${files.join(', ')} …\n`);
        const detail = await api.send('POST', `/models/${encodeURIComponent(name)}/versions`, ModelVersionDetail, form);
        if (json) return printJson(detail);
        printLine(
          `${name} version ${detail.version} registered; release it: edgeloop rollouts create ${name} ${detail.version}`,
        );
      }),
    );
  addBacktestCommand(models);
}

export function registerAliasCommands(program: Command): void {
  const aliases = group(
    program,
    'aliases',
    'names for versions that move, as stable; rollouts move them when they complete',
  );
  aliases
    .command('list <model>')
    .description('list the aliases of a model')
    .action(
      action(async ({ api, json }, name: string) => {
        const page = await api.get(`/models/${encodeURIComponent(name)}/aliases`, pageOf(ModelAlias));
        if (json) return printJson(page.items);
        printTable(
          ['ALIAS', 'VERSION', 'SINCE', 'BY'],
          page.items.map((each) => [each.alias, each.version, timeText(each.updatedAt), each.updatedBy]),
        );
      }),
    );
  aliases
    .command('set <model> <alias> <version>')
    .description('let an alias name a version')
    .action(
      action(async ({ api, json }, name: string, alias: string, version: string) => {
        const path = `/models/${encodeURIComponent(name)}/aliases/${encodeURIComponent(alias)}`;
        const model = await api.send('PUT', path, Model, { version: numeric(version) });
        if (json) return printJson(model);
        printLine(`${name}: ${alias} names version ${version} now`);
      }),
    );
}

function printModel({ versions, unknownReleases, aliases }: Model): void {
  printTable(['VERSION', 'RELEASE', 'SIZE', 'SOURCE', 'METRICS', 'CREATED', 'BY'], versions.map(versionRow));
  for (const { alias, version } of aliases) printLine(`${alias} is version ${version}`);
  if (unknownReleases.length === 0) return;
  printLine('devices also run, and it is not registered here:');
  printTable(
    ['VERSION', 'RELEASE', 'DEVICES'],
    unknownReleases.map(({ version, release, devices }) => [version, shortDigest(release), devices]),
  );
}

function versionRow(version: Model['versions'][number]) {
  const metrics = Object.entries(version.metrics).map(([name, value]) => `${name}=${value.toFixed(4)}`);
  return [
    version.version,
    shortDigest(version.release),
    version.sizeBytes,
    version.lineage.source,
    metrics.join(' '),
    timeText(version.createdAt),
    version.createdBy,
  ];
}

function printVersion(detail: ModelVersionDetail): void {
  const tensors = (specs: ModelVersionDetail['io']['inputs']) =>
    specs.map((spec) => `${spec.name} ${spec.datatype}[${spec.shape}]`).join(', ');
  const { acceptance } = detail.manifest;
  printFields([
    ['model', `${detail.model} version ${detail.version}`],
    ['digest', `sha256:${detail.digest}`],
    ['release', `sha256:${detail.release}`],
    ['size', `${detail.sizeBytes} bytes`],
    ['inputs', tensors(detail.io.inputs)],
    ['outputs', tensors(detail.io.outputs)],
    ['opset', detail.io.opset],
    ['task', detail.manifest.task],
    ['golden samples', detail.goldenSamples],
    ['bounds', acceptance === undefined ? 'none' : boundsText(acceptance)],
    ['lineage', JSON.stringify(detail.lineage)],
    ['created', `${timeText(detail.createdAt)} by ${detail.createdBy}`],
  ]);
  if (detail.variants === undefined) return;
  const how = detail.manifest.select === 'measure' ? 'the quickest on the device of those' : 'the first';
  printLine(`variants; a device takes ${how} whose requirements hold:`);
  printTable(
    ['VARIANT', 'SIZE', 'DIGEST', 'REQUIRES'],
    detail.variants.map(({ name, sizeBytes, digest, requires }) => [
      ...[name, sizeBytes, shortDigest(digest), requirementsText(requires)],
    ]),
  );
}

function boundsText({ maxLatencyMs, quantile, runs, maxMemoryMb }: Acceptance): string {
  const latency =
    maxLatencyMs === undefined ? [] : [`${quantile * 100} % quantile of ${runs} runs at most ${maxLatencyMs} ms`];
  const memory = maxMemoryMb === undefined ? [] : [`at most ${maxMemoryMb} MB of memory`];
  return [...latency, ...memory].join(', ');
}

function requirementsText(requires: VariantRequirements): string {
  const parts = Object.entries(requires).map(([what, value]) => `${what}=${[value].flat().join('|')}`);
  return parts.length === 0 ? 'nothing' : parts.join(', ');
}
