// edgeloop datasets.
import { createWriteStream } from 'node:fs';
import { basename, extname } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Dataset, DatasetVersion } from '@edgeloop/shared/api/data';
import { pageOf } from '@edgeloop/shared/api/paging';
import { AppError } from '@edgeloop/shared/errors';
import type { Command } from 'commander';
import { action, group, numeric } from './command.ts';
import { givenFile } from './given-file.ts';
import { printJson, printLine, printTable, timeText } from './output.ts';

interface ImportOptions {
  label: string;
  splitColumn?: string;
  format?: string;
}

export function registerDataCommands(program: Command): void {
  const datasets = group(program, 'datasets', 'immutable dataset versions');
  datasets
    .command('list')
    .description('list datasets and their versions')
    .action(
      action(async ({ api, json }) => {
        const page = await api.get('/datasets', pageOf(Dataset), { limit: 1000 });
        if (json) return printJson(page.items);
        const rows = page.items.flatMap((dataset) =>
          dataset.versions.map((each) => [
            `${dataset.name}:${each.version}`,
            each.digest.slice(0, 12),
            each.rows.train,
            each.rows.validation,
            each.rows.test,
            timeText(each.createdAt),
          ]),
        );
        printTable(['DATASET', 'DIGEST', 'TRAIN', 'VALIDATION', 'TEST', 'CREATED'], rows);
      }),
    );
  datasets
    .command('import <name> <file>')
    .description('make a version from a CSV or Parquet file: one label column, the others numeric features')
    .option('--label <column>', 'the label column', 'label')
    .option('--split-column <column>', 'column that says train, validation or test')
    .option('--format <format>', 'csv or parquet, where the name does not end so')
    .action(
      action(async ({ api, json }, name: string, file: string, options: ImportOptions) => {
        const form = new FormData();
        form.set('options', JSON.stringify({ ...options, format: options.format ?? formatOf(file) }));
        form.set('file', await givenFile(file), basename(file));
        const version = await api.send('POST', `/datasets/${encodeURIComponent(name)}/versions`, DatasetVersion, form);
        if (json) return printJson(version);
        printVersion(version);
      }),
    );
  datasets
    .command('build <name>')
    .description('make a version from an earlier one and labelled samples from the field')
    .option('--base <version>', 'version whose rows to keep', numeric)
    .option('--model <name>', 'model whose labelled field samples to add')
    .action(
      action(async ({ api, json }, name: string, options: { base?: number; model?: string }) => {
        const build = {
          base: options.base,
          ...(options.model === undefined ? {} : { fromField: { model: options.model } }),
        };
        const version = await api.send('POST', `/datasets/${encodeURIComponent(name)}/versions`, DatasetVersion, build);
        if (json) return printJson(version);
        printVersion(version);
      }),
    );
  datasets
    .command('export <name> <version> <file>')
    .description('write one split of a version as Parquet')
    .option('--split <split>', 'train, validation or test', 'train')
    .action(
      action(async ({ api }, name: string, version: string, file: string, options: { split: string }) => {
        const response = await api.open(
          `/datasets/${encodeURIComponent(name)}/versions/${encodeURIComponent(version)}/export`,
          { split: options.split },
        );
        if (response.body === null) throw new AppError('internal', 'the server sent no data');
        await pipeline(Readable.fromWeb(response.body), createWriteStream(file));
        printLine(`${file} written`);
      }),
    );
}

function formatOf(file: string): string {
  const extension = extname(file).slice(1).toLowerCase();
  if (extension === 'csv' || extension === 'parquet') return extension;
  throw new AppError('invalid_request', `${file} must end in .csv or .parquet, or --format say which it is`);
}

function printVersion({ dataset, version, digest, rows }: DatasetVersion): void {
  printLine(
    `${dataset} version ${version}: ${rows.train} train, ${rows.validation} validation, ${rows.test} test rows, sha256:${digest}`,
  );
}
