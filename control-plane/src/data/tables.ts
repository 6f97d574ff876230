// Tables of labelled rows as files: Parquet (Snappy) out, Parquet and CSV in, through an in-memory DuckDB that may load
// no extension and reach no network.
import { type DuckDBConnection, DuckDBDataChunk, DuckDBInstance, FLOAT, VARCHAR } from '@duckdb/node-api';
import { type Split, splits } from '@edgeloop/shared/api/data';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import { storageFailure } from '../database/storage-failure.ts';
import type { LabelledRows, RawRow } from './rows.ts';

const chunkRows = 2048;

/** Writes feature columns (FLOAT) and the label column. The same rows give the same bytes. */
export async function writeParquet(path: string, rows: LabelledRows, labelColumn = 'label'): Promise<void> {
  await withConnection(async (connection) => {
    const columns = [
      ...rows.features.map((name) => `${quoted(name)} FLOAT`),
      `${quoted(labelColumn)} VARCHAR NOT NULL`,
    ];
    await connection.run(`CREATE TABLE rows (${columns.join(', ')})`);
    await append(connection, rows);
    await connection.run(`COPY rows TO ${literal(path)} (FORMAT parquet, COMPRESSION snappy)`);
  });
}

/** Reads what `writeParquet` wrote; every row gets `split`. */
export async function readParquet(path: string, split: Split): Promise<LabelledRows> {
  const { features, rows } = await readTable({ path, format: 'parquet', label: 'label' });
  const values = new Float32Array(rows.length * features.length);
  for (const [i, row] of rows.entries()) values.set(row.values, i * features.length);
  return { features, values, labels: rows.map((row) => row.label), splits: rows.map(() => split) };
}

export interface TableFile {
  path: string;
  format: 'csv' | 'parquet';
  /** Name of the label column. */
  label: string;
  splitColumn?: string | undefined;
}

/**
 * Reads a table: the label column, perhaps a split column, and all others as numeric features in their order.
 * Missing values are NaN, missing labels are empty.
 * @throws AppError `invalid_request` naming the column that is wrong
 */
export async function readTable(file: TableFile): Promise<{ features: string[]; rows: RawRow[] }> {
  return withConnection(async (connection) => {
    const source =
      file.format === 'csv' ? `read_csv(${literal(file.path)}, header = true)` : `read_parquet(${literal(file.path)})`;
    const described = await readAll(connection, `DESCRIBE SELECT * FROM ${source}`);
    const names = (described.getColumns()[0] ?? []).map(String);
    const features = featureNames(names, file);
    const selected = [
      `coalesce(CAST(${quoted(file.label)} AS VARCHAR), '')`,
      splitExpression(file),
      ...features.map((name) => `CAST(${quoted(name)} AS FLOAT)`),
    ];
    const read = await readAll(connection, `SELECT ${selected.join(', ')} FROM ${source}`);
    const [labels = [], splitNames = [], ...columns] = read.getColumns();
    return {
      features,
      rows: labels.map((label, i) => rowAt({ i, label: String(label), split: splitNames[i], columns })),
    };
  });
}

function featureNames(names: string[], { label, splitColumn }: TableFile): string[] {
  for (const needed of [label, ...(splitColumn === undefined ? [] : [splitColumn])]) {
    if (!names.includes(needed))
      throw new AppError(
        'invalid_request',
        `file: there is no column "${needed}"; it has ${names.slice(0, 20).join(', ')}`,
      );
  }
  const features = names.filter((name) => name !== label && name !== splitColumn);
  if (features.length === 0) throw new AppError('invalid_request', 'file: there is no feature column beside the label');
  return features;
}

function splitExpression({ splitColumn }: TableFile): string {
  return splitColumn === undefined ? 'NULL' : `CAST(${quoted(splitColumn)} AS VARCHAR)`;
}

function rowAt({
  i,
  label,
  split,
  columns,
}: {
  i: number;
  label: string;
  split: unknown;
  columns: readonly unknown[][];
}): RawRow {
  const values = Float32Array.from(columns, (column) => (typeof column[i] === 'number' ? column[i] : Number.NaN));
  if (split === null || split === undefined) return { values, label };
  const known = splits.find((each) => each === split);
  if (known === undefined)
    throw new AppError('invalid_request', `file: row ${i + 1} has the split "${split}"; use train, validation or test`);
  return { values, label, split: known };
}

async function append(connection: DuckDBConnection, rows: LabelledRows): Promise<void> {
  const width = rows.features.length;
  const types = [...rows.features.map(() => FLOAT), VARCHAR];
  const appender = await connection.createAppender('rows');
  for (let start = 0; start < rows.labels.length; start += chunkRows) {
    const count = Math.min(chunkRows, rows.labels.length - start);
    const chunk = DuckDBDataChunk.create(types, count);
    for (let column = 0; column < width; column++) {
      chunk.setColumnValues(
        column,
        Array.from({ length: count }, (_, i) => rows.values[(start + i) * width + column] ?? Number.NaN),
      );
    }
    chunk.setColumnValues(width, rows.labels.slice(start, start + count));
    appender.appendDataChunk(chunk);
  }
  appender.closeSync();
}

async function readAll(connection: DuckDBConnection, sql: string) {
  try {
    return await connection.runAndReadAll(sql);
  } catch (cause) {
    const reason = `file: cannot be read as a table: ${messageOf(cause).split('\n')[0]}`;
    throw storageFailure(cause) ?? new AppError('invalid_request', reason, { cause });
  }
}

async function withConnection<T>(work: (connection: DuckDBConnection) => Promise<T>): Promise<T> {
  const instance = await DuckDBInstance.create(':memory:', {
    threads: '1',
    autoinstall_known_extensions: 'false',
    autoload_known_extensions: 'false',
  });
  const connection = await instance.connect();
  try {
    return await work(connection);
  } finally {
    connection.closeSync();
    instance.closeSync();
  }
}

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}
