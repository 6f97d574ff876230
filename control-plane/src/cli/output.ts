// What commands print: tables for people, JSON for scripts.
import { plainText } from '@edgeloop/shared/plain-text';
import type { Command } from 'commander';

export type Cell = string | number | boolean | null | undefined;

/** Options that every command takes. */
export interface GlobalOptions {
  json?: boolean;
  url?: string;
  key?: string;
}

export function globalsOf(command: Command): GlobalOptions {
  return command.optsWithGlobals<GlobalOptions>();
}

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}

/** Devices and callers may have said anything; a terminal obeys control characters. */
const cellText = (cell: Cell) => plainText(String(cell ?? ''), Number.POSITIVE_INFINITY);

/** A table whose columns are as wide as their widest cell; "none" when there are no rows. */
export function printTable(header: string[], rows: Cell[][]): void {
  if (rows.length === 0) {
    process.stdout.write('none\n');
    return;
  }
  const text = [header, ...rows].map((row) => row.map((cell) => cellText(cell) || '-'));
  const widths = header.map((_, column) => Math.max(...text.map((row) => row[column]?.length ?? 0)));
  const lines = text.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
  process.stdout.write(`${lines.join('\n')}\n`);
}

/** `name  value` lines. */
export function printFields(fields: [string, Cell][]): void {
  const width = Math.max(...fields.map(([name]) => name.length));
  for (const [name, value] of fields)
    process.stdout.write(`${name.padEnd(width)}  ${value == null ? '-' : cellText(value)}\n`);
}

export function printLine(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** ISO time to the second, or "-". */
export function timeText(at: number | null | undefined): string {
  return at === null || at === undefined ? '-' : `${new Date(at).toISOString().slice(0, 19)}Z`;
}

export function labelsText(labels: Record<string, string>): string {
  return Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(',');
}

/** Enough of a digest to tell it apart. */
export function shortDigest(digest: string | null | undefined): string | undefined {
  return digest?.slice(0, 12);
}
